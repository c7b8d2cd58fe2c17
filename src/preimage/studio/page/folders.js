// Folders on the server: choose one, restore all its pictures, watch the table, open any result.

import { api } from "./api.js";
import { tasksOf } from "./compose.js";
import { fill, freshId, h, icon, iconButton } from "./dom.js";
import { confirmed, trouble, wordsOf } from "./feedback.js";
import { TaskForm } from "./forms.js";
import { badge, commandLine } from "./job.js";
import { bind } from "./keys.js";
import { TiledLayer, loadImage } from "./layers.js";
import { takePictures } from "./picker.js";
import { taskName } from "./picture.js";
import { Stage } from "./stage.js";
import { store } from "./state.js";
import { number, seconds, t } from "./texts.js";

/** The view that starts folder runs and lists those there are. */
export class Folders {
  path = "";

  constructor(signal) {
    this.signal = signal;
    this.node = h("div", { class: "page" }, h("h1", {}, t("folders.title")));
    takePictures((file) => {
      location.hash = `#/restore/${file.id}`;
    });
    bind({}, null);
    if (!store.start.root) {
      this.node.append(h("p", {}, t("folders.off")), h("pre", { tabindex: "0" }, "preimage studio --root FOLDER"));
      return;
    }
    this.crumbs = h("nav", { class: "crumbs", "aria-label": t("folders.path") });
    this.list = h("ul", { class: "folder-list" });
    this.count = h("p", { class: "quiet", role: "status" });
    this.form = h("div", { class: "folder-form" });
    this.runs = h("section", {});
    this.node.append(
      h("p", {}, t("folders.intro")),
      h("div", { class: "columns" }, h("section", { class: "box" }, this.crumbs, this.count, this.list), this.form),
      this.runs,
    );
    this.#form();
    this.open("");
    store.watch("runs", () => this.#runs(), signal);
    this.#runs();
  }

  async open(path) {
    try {
      const found = await api.folders(path);
      this.path = found.path ?? path;
      const parts = this.path.split("/").filter((part) => part && part !== ".");
      fill(
        this.crumbs,
        crumb(t("folders.root"), () => this.open("")),
        parts.map((part, k) => [
          h("span", { "aria-hidden": "true" }, "/"),
          crumb(part, () => this.open(parts.slice(0, k + 1).join("/"))),
        ]),
      );
      this.count.textContent = t(found.pictures === 1 ? "folders.one" : "folders.count", { n: number(found.pictures) });
      fill(
        this.list,
        found.folders.map((name) => {
          const label = String(name).split("/").at(-1);
          return h(
            "li",
            {},
            h(
              "button",
              { type: "button", class: "folder", onclick: () => this.open([...parts, label].join("/")) },
              icon("folder"),
              label,
            ),
          );
        }),
      );
      this.start.disabled = !found.pictures;
      if (!this.outGiven) this.out.value = `${parts.join("/") || "pictures"}-${this.task.name}`;
    } catch (error) {
      trouble(error);
    }
  }

  #form() {
    const tasks = tasksOf("restore").filter((task) => task.inputs === "images");
    const [select, out] = [freshId("task"), freshId("out")];
    this.out = h("input", {
      id: out,
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => {
        this.outGiven = true;
      },
    });
    this.options = h("div", { class: "settings" });
    this.start = h(
      "button",
      { type: "button", class: "button primary large", onclick: () => this.#start() },
      t("folders.start"),
    );
    const choose = (task) => {
      this.task = task;
      this.taskForm = new TaskForm(task, { skip: ["seed"] });
      fill(this.options, h("p", { class: "summary" }, task.summary), this.taskForm.node);
    };
    choose(tasks[0]);
    fill(
      this.form,
      h(
        "div",
        { class: "field" },
        h("label", { for: select }, t("task.choose")),
        h(
          "select",
          {
            id: select,
            onchange: (event) => {
              choose(tasks.find((task) => task.name === event.target.value));
              this.open(this.path);
            },
          },
          tasks.map((task) => h("option", { value: task.name }, taskName(task.name))),
        ),
      ),
      this.options,
      h(
        "div",
        { class: "field" },
        h("label", { for: out }, t("folders.out")),
        this.out,
        h("p", { class: "help" }, t("folders.outHelp")),
      ),
      this.start,
    );
  }

  async #start() {
    try {
      const run = await api.startFolder({
        path: this.path,
        task: this.task.name,
        options: this.taskForm.values(),
        out: this.out.value.trim(),
      });
      store.add("runs", run);
      location.hash = `#/folders/${run.id}`;
    } catch (error) {
      trouble(error);
    }
  }

  #runs() {
    const runs = [...store.runs.values()].reverse();
    fill(
      this.runs,
      runs.length
        ? [
            h("h2", {}, t("folders.runs")),
            h(
              "ul",
              { class: "run-list" },
              runs.map((run) =>
                h(
                  "li",
                  {},
                  h("a", { href: `#/folders/${run.id}` }, run.path || t("folders.root")),
                  h("span", { class: "quiet" }, taskName(run.task)),
                  h("span", { class: "quiet numbers" }, countsOf(run)),
                  badge(run.state),
                ),
              ),
            ),
          ]
        : [],
    );
  }
}

const crumb = (name, go) => h("button", { type: "button", class: "text-button", onclick: go }, name);

function countsOf(run) {
  const counts = Object.entries(run.counts ?? {}).filter(([, count]) => count);
  return counts.map(([name, count]) => t("folders.countOf", { n: number(count), name: t(`row.${name}`) })).join(" · ");
}

const ROWS_EVERY = 1500;

/** One folder run: the table, and the result that is open. */
export class FolderRun {
  #due = 0;
  #open = null;

  constructor(id, signal) {
    this.id = id;
    this.stage = new Stage(t("stage.result"));
    this.head = h("div", { class: "job-head" });
    this.actions = h("div", { class: "row wrap" });
    this.bar = h("progress", { max: "1", "aria-label": t("job.progress") });
    this.counts = h("p", { class: "quiet numbers", role: "status" });
    this.running = h("ul", { class: "lines" });
    this.body = h("tbody", {});
    this.command = h("section", { class: "command" });
    const head = h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["name", "state", "seconds"].map((name) => h("th", { scope: "col" }, t(`folders.${name}`))),
      ),
    );
    this.table = h(
      "div",
      { class: "table", tabindex: "0", role: "region", "aria-label": t("folders.table") },
      h("table", {}, head, this.body),
    );
    this.node = h(
      "div",
      { class: "work" },
      this.stage.node,
      h(
        "aside",
        { class: "panel", "aria-label": t("panel.label") },
        h("p", {}, h("a", { href: "#/folders" }, t("folders.all"))),
        this.head,
        this.bar,
        this.counts,
        this.running,
        this.actions,
        this.table,
        this.command,
      ),
    );
    this.stage.setCover(h("p", { class: "quiet" }, t("folders.openOne")));
    store.watch("runs", (changed) => (changed === null || changed === id) && this.#show(store.runs.get(id)), signal);
    signal.addEventListener("abort", () => clearTimeout(this.#due));
    bind(this.stage.keys(), this.stage.viewer);
    this.#fetch();
  }

  async #fetch() {
    clearTimeout(this.#due);
    try {
      const run = await api.run(this.id);
      this.#show(run);
      this.#rows(run.rows ?? []);
      if (["running", "waiting"].includes(run.state)) this.#due = setTimeout(() => this.#fetch(), ROWS_EVERY);
    } catch (error) {
      fill(this.head, h("p", { class: "field-error" }, wordsOf(error)));
    }
  }

  #show(run) {
    if (!run) return;
    const counts = run.counts ?? {};
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    fill(
      this.head,
      h(
        "div",
        { class: "row" },
        h("h1", { class: "file-name" }, run.path || t("folders.root")),
        h(
          "span",
          { class: "group" },
          badge(run.state),
          iconButton("trash", t("folders.delete"), () => this.#delete()),
        ),
      ),
      h("p", { class: "quiet" }, taskName(run.task), " → ", run.out),
    );
    this.bar.value = all ? ((counts.done ?? 0) + (counts.failed ?? 0)) / all : 0;
    this.counts.textContent = countsOf(run);
    fill(
      this.running,
      (run.running ?? []).map((each) =>
        h("li", {}, `${each.name}: ${t("job.step", { step: number(each.step ?? 0), of: number(each.of ?? 0) })}`),
      ),
    );
    const act = (name, action) =>
      h("button", { type: "button", class: "button", onclick: () => this.#act(action) }, t(`act.${name}`));
    const going = ["running", "waiting"].includes(run.state);
    if (this.state !== run.state) {
      this.state = run.state;
      fill(this.actions, going ? act("stop", "stop") : run.state === "done" ? [] : act("goOn", "resume"));
      fill(this.command, h("h2", {}, t("command.title")), commandLine(run.command));
      if (!going) this.#fetchSoon();
    }
  }

  #fetchSoon() {
    clearTimeout(this.#due);
    this.#due = setTimeout(() => this.#fetch(), 300);
  }

  async #delete() {
    if (!(await confirmed(t("folders.sure"), t("delete")))) return;
    try {
      await api.deleteRun(this.id);
      store.drop("runs", this.id);
      location.hash = "#/folders";
    } catch (error) {
      trouble(error);
    }
  }

  async #act(action) {
    try {
      await api.actRun(this.id, action);
      this.#fetchSoon();
    } catch (error) {
      trouble(error);
    }
  }

  #rows(rows) {
    const key = JSON.stringify(rows);
    if (key === this.rowsKey) return;
    this.rowsKey = key;
    const focused = document.activeElement?.dataset?.name;
    fill(
      this.body,
      rows.map((row) =>
        h(
          "tr",
          {},
          h(
            "th",
            { scope: "row" },
            row.state === "done"
              ? h(
                  "button",
                  { type: "button", class: "text-button", "data-name": row.name, onclick: () => this.open(row.name) },
                  row.name,
                )
              : row.name,
          ),
          h("td", {}, t(`row.${row.state}`), row.error ? h("span", { class: "field-error" }, ` ${row.error}`) : null),
          h("td", { class: "numbers" }, row.seconds ? seconds(row.seconds) : ""),
        ),
      ),
    );
    if (focused) [...this.body.querySelectorAll("button")].find((button) => button.dataset.name === focused)?.focus();
  }

  /** Show one result with a wipe against its input. */
  async open(name) {
    this.#open = name;
    const { viewer } = this.stage;
    try {
      const sizes = await Promise.all(
        ["input", "output"].map((what) => loadImage(api.runView(this.id, name, { what, out: 4096 }))),
      );
      if (this.#open !== name) return;
      const [before, after] = sizes.map(
        (image, k) =>
          new TiledLayer(
            image.naturalWidth,
            image.naturalHeight,
            (region) => api.runView(this.id, name, { what: k ? "output" : "input", ...region }),
            viewer.redraw,
          ),
      );
      Object.assign(viewer, { before: [before], after: [after] });
      this.stage.setCover();
      viewer.frame(after.width, after.height);
      viewer.setWipe(viewer.wipe ?? 0.5);
      viewer.canvas.setAttribute("aria-label", t("stage.showing", { what: t("mode.wipe"), name }));
    } catch (error) {
      trouble(error);
    }
  }
}
