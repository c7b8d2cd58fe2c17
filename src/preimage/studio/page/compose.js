// From a picture to a job: the stage with the picture, the choice of a task, its form, and Start.

import { api } from "./api.js";
import { fill, freshId, h } from "./dom.js";
import { say, trouble } from "./feedback.js";
import { TaskForm, isPaintable } from "./forms.js";
import { bind } from "./keys.js";
import { MaskTools, maskOf } from "./masktools.js";
import { choosePicture, dropZone, recent, takePictures } from "./picker.js";
import { PictureControls, expected, factsOf, fileLayer, taskName } from "./picture.js";
import { Stage } from "./stage.js";
import { store } from "./state.js";
import { t, tOr } from "./texts.js";

/** What the views Restore and Explain have in common. */
export class Compose {
  file = null;
  task = null;
  tools = null;

  constructor(view, tasks, signal) {
    Object.assign(this, { view, tasks, signal });
    this.stage = new Stage(t("stage.picture"));
    this.panel = h("aside", { class: "panel", "aria-label": t("panel.label") });
    this.node = h("div", { class: "work" }, this.stage.node, this.panel);
    takePictures((file) => this.go(file));
    signal.addEventListener("abort", () => this.tools?.close());
  }

  go(file) {
    location.hash = `#/${this.view}/${file.id}`;
  }

  /** Without a picture: the drop zone and what is there already. */
  empty() {
    this.stage.bar.hidden = true;
    this.stage.setCover(dropZone());
    fill(
      this.panel,
      h("h1", {}, t(`${this.view}.title`)),
      h("p", {}, t(`${this.view}.intro`)),
      this.withoutPicture?.() ?? null,
      recent(this.signal, (file) => this.go(file)),
    );
    bind({}, this.stage.viewer);
  }

  /** A picture; `job`: one whose settings are to be changed. */
  show(file, job = null) {
    this.file = file;
    this.from = job?.options ? job : null;
    if (this.from) this.task = this.tasks.find((task) => task.name === job.task) ?? null;
    this.facts = h("div", { class: "facts-box" });
    this.start = h("button", { type: "button", class: "button primary large", onclick: () => this.run() }, t("start"));
    this.startText = h("span", { class: "quiet" });
    this.settings = h("div", { class: "settings" });
    fill(
      this.panel,
      h(
        "div",
        { class: "row" },
        h("h1", { class: "file-name" }, file.name),
        h("button", { type: "button", class: "text-button", onclick: choosePicture }, t("other")),
      ),
      this.facts,
      this.aboveTasks?.() ?? null,
      this.#taskChoice(),
      this.settings,
      h("div", { class: "start-bar" }, this.start, this.startText),
    );
    if (this.from) this.takeFrom?.(this.from);
    this.stage.setCover(h("p", { class: "quiet" }, t("facts.reading")));
    store.watch("files", (id) => (id === null || id === file.id) && this.#renew(), this.signal);
    this.#renew();
  }

  #renew() {
    const file = store.files.get(this.file.id);
    if (!file) return this.stage.setCover(h("p", {}, t("file.gone")));
    const first = file.facts && !this.controls;
    this.file = file;
    fill(this.facts, factsOf(file, this.view === "restore"));
    if (file.error) this.stage.setCover(h("p", { class: "field-error" }, file.error));
    if (first) this.#draw();
    this.#saySeconds();
    return undefined;
  }

  #draw() {
    const { file, stage } = this;
    const { viewer } = stage;
    const redraw = () => {
      viewer.before = viewer.after = [fileLayer(file, this.controls, viewer.redraw)];
      if (file.facts.pages > 1) this.form?.set("page", this.controls.page);
      viewer.redraw();
    };
    this.controls = new PictureControls(file.facts, redraw);
    fill(stage.below, this.controls.node, stage.place);
    stage.setCover();
    redraw();
    viewer.frame(file.facts.width, file.facts.height);
    const suggested = file.facts.suggested?.task;
    this.choose(this.task ?? this.tasks.find((task) => task.name === suggested) ?? this.tasks[0], true);
    say(t("facts.ready", { name: file.name }));
  }

  #taskChoice() {
    const name = freshId("task");
    this.radios = h(
      "div",
      { class: "pills" },
      this.tasks.map((task) =>
        h(
          "label",
          { class: "pill" },
          h("input", { type: "radio", name, value: task.name, onchange: () => this.choose(task) }),
          h("span", {}, taskName(task.name)),
        ),
      ),
    );
    return h("fieldset", { class: "task-choice" }, h("legend", {}, t("task.choose")), this.radios);
  }

  choose(task, anew = false) {
    if (this.task === task && !anew) return;
    this.task = task;
    for (const radio of this.radios.querySelectorAll("input")) radio.checked = radio.value === task.name;
    const paints = task.options.some(isPaintable) && this.file?.facts;
    this.form = new TaskForm(task, {
      skip: ["seed", ...(this.skipped ?? [])],
      file: this.file?.id,
      mask: paints ? () => !(maskOf(this.file)?.empty ?? true) : null,
      values: this.valuesFor(task),
    });
    this.seed = numberField(t("run.seed"), t("run.seedHelp"), /--seed (\d+)/.exec(this.from?.command)?.[1] ?? "0", 0);
    this.threads = numberField(t("run.threads"), t("run.threadsHelp"), "", 1);
    fill(
      this.settings,
      h("p", { class: "summary" }, task.summary),
      this.beforeForm?.(task) ?? null,
      this.form.node,
      h("details", { class: "more" }, h("summary", {}, t("run.title")), this.seed.node, this.threads.node),
    );
    this.#tools(Boolean(paints));
    this.#saySeconds();
  }

  valuesFor(task) {
    if (this.from?.task === task.name) return this.#optionsOf(this.from, task);
    const { suggested, pages } = this.file?.facts ?? {};
    const page = pages > 1 ? { page: this.controls?.page ?? 1 } : {};
    return suggested?.task === task.name ? { ...page, ...suggested.options } : page;
  }

  /** The options of a job; the mask is the one that is painted here, if it still is. */
  #optionsOf(job, task) {
    const options = { ...job.options };
    if (maskOf(this.file)?.empty === false) {
      for (const option of task.options.filter(isPaintable))
        if (options[option.name]) options[option.name] = { painted: true };
    }
    return options;
  }

  #tools(wanted) {
    if (!wanted) {
      this.tools?.close();
      this.tools = null;
      fill(this.stage.tools);
    } else if (!this.tools) {
      this.tools = new MaskTools(this.stage.viewer, this.file);
      fill(this.stage.tools, this.tools.node);
    }
    bind({ ...this.stage.keys(), ...this.tools?.keys(), "ctrl+enter": () => this.run() }, this.stage.viewer);
  }

  #saySeconds() {
    this.start.disabled = this.task?.inputs !== "none" && !this.file?.facts;
    this.startText.textContent = this.task ? expected(this.file, this.task.name) : "";
  }

  /** Make the job; the page of the job opens. */
  async run() {
    if (this.start.disabled) return;
    try {
      const options = { ...this.form.values(), ...this.ownOptions?.() };
      this.start.disabled = true;
      for (const [name, value] of Object.entries(options)) {
        if (!value?.painted) continue;
        const mask = await api.mask(this.file.id, await this.tools.png());
        options[name] = { file: mask.id };
        if (name === "mask" && this.task.options.some((option) => option.name === "mask_white"))
          options.mask_white = "missing";
      }
      const seed = Number(this.seed.input.value || 0);
      const threads = this.threads.input.value ? Number(this.threads.input.value) : null;
      const job = await api.createJob({
        task: this.task.name,
        file: this.task.inputs === "none" ? null : this.file.id,
        options,
        seed,
        threads,
      });
      store.add("jobs", job);
      history.replaceState(null, "", `#/${this.view}/${this.file.id}/${job.id}`); // Back finds the form as it is
      location.hash = `#/job/${job.id}`;
    } catch (error) {
      trouble(error);
    } finally {
      this.#saySeconds();
    }
  }
}

function numberField(name, help, value, minimum) {
  const id = freshId("run");
  const input = h("input", {
    id,
    type: "number",
    step: "1",
    min: minimum,
    value,
    placeholder: t("form.auto"),
    "aria-describedby": `${id}-help`,
  });
  return {
    input,
    node: h(
      "div",
      { class: "field" },
      h("label", { for: id }, name),
      input,
      h("p", { class: "help", id: `${id}-help` }, help),
    ),
  };
}

/** The tasks of a kind, in the server's order. */
export const tasksOf = (...kinds) =>
  store.start.tasks.filter((task) => kinds.includes(task.kind) && task.inputs !== "data");

/** The words of a group that the texts may not know. */
export const groupName = (name) => tOr(`group.${name}`, name);
