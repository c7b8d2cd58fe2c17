// The queue and the history: every job that the server has, the newest first.

import { api } from "./api.js";
import { isShown } from "./compare.js";
import { fill, h, iconButton } from "./dom.js";
import { confirmed, trouble } from "./feedback.js";
import { badge, commandLine, isOver } from "./job.js";
import { bind } from "./keys.js";
import { takePictures } from "./picker.js";
import { taskName, thumbnail } from "./picture.js";
import { store } from "./state.js";
import { moment, number, seconds, t } from "./texts.js";

const AT_ONCE = 60;

/** The view of all jobs. */
export class Queue {
  #rows = new Map();
  #shown = AT_ONCE;

  constructor(signal) {
    this.list = h("ol", { class: "jobs" });
    this.counts = h("p", { class: "quiet", role: "status" });
    this.none = h("p", { class: "quiet" }, t("queue.none"));
    this.more = h(
      "button",
      {
        type: "button",
        class: "button",
        onclick: () => {
          this.#shown += AT_ONCE;
          this.#draw();
        },
      },
      t("queue.more"),
    );
    this.node = h(
      "div",
      { class: "page" },
      h("h1", {}, t("queue.title")),
      this.counts,
      this.none,
      this.list,
      this.more,
    );
    store.watch(
      "jobs",
      (id) =>
        id === null || !this.#rows.has(id) || !store.jobs.has(id)
          ? this.#draw()
          : this.#rows.get(id).show(store.jobs.get(id)),
      signal,
    );
    takePictures((file) => {
      location.hash = `#/restore/${file.id}`;
    });
    bind({}, null);
    this.#draw();
  }

  #draw() {
    const jobs = [...store.jobs.values()].sort((a, b) => b.number - a.number);
    const going = jobs.filter((job) => !isOver(job));
    this.counts.textContent = jobs.length
      ? t("queue.counts", { going: number(going.length), all: number(jobs.length) })
      : "";
    this.none.hidden = jobs.length > 0;
    const shown = jobs.slice(0, this.#shown);
    for (const id of this.#rows.keys()) if (!store.jobs.has(id)) this.#rows.delete(id);
    const rows = shown.map((job) => {
      if (!this.#rows.has(job.id)) this.#rows.set(job.id, new Row(job));
      const row = this.#rows.get(job.id);
      row.show(job);
      return row.node;
    });
    const focused = document.activeElement;
    fill(this.list, rows);
    if (this.list.contains(focused)) focused.focus();
    this.more.hidden = jobs.length <= this.#shown;
  }
}

class Row {
  #state = null;

  constructor(job) {
    this.pictures = h("a", { class: "pictures", href: `#/job/${job.id}`, tabindex: "-1", "aria-hidden": "true" });
    this.label = h("span", {});
    this.text = h("p", { class: "quiet numbers" });
    this.bar = h("progress", { max: "1", "aria-label": t("job.progress") });
    this.node = h(
      "li",
      { class: "job", "data-job": job.id },
      this.pictures,
      h(
        "div",
        { class: "job-text" },
        h(
          "div",
          { class: "row" },
          h("h2", {}, h("a", { href: `#/job/${job.id}` }, `${taskName(job.task)}${job.name ? ` · ${job.name}` : ""}`)),
          this.label,
        ),
        this.text,
        this.bar,
        commandLine(job.command),
      ),
      iconButton("trash", t("queue.delete", { n: job.number }), () => this.#delete(job)),
    );
  }

  show(job) {
    this.bar.hidden = isOver(job) || job.state === "waiting";
    this.bar.value = job.of ? job.step / job.of : 0;
    const parts = [
      t("job.number", { n: job.number }),
      moment(job.created),
      !isOver(job) && job.of ? t("job.step", { step: number(job.step), of: number(job.of) }) : null,
      job.state === "running" && job.seconds_left ? t("job.left", { time: seconds(job.seconds_left) }) : null,
      job.error,
    ];
    this.text.textContent = parts.filter(Boolean).join(" · ");
    if (this.#state === job.state) return;
    this.#state = job.state;
    fill(this.label, badge(job.state));
    const done = (job.outputs ?? []).includes("output") && isShown(job);
    fill(
      this.pictures,
      job.file ? thumbnail(api.thumbnail(job.file)) : null,
      done ? thumbnail(api.jobView(job.id, "output", { out: 128 })) : null,
    );
  }

  async #delete(job) {
    if (!(await confirmed(t("job.sure", { name: job.name ?? "" }), t("delete")))) return;
    try {
      await api.deleteJob(job.id);
      store.drop("jobs", job.id);
    } catch (error) {
      trouble(error);
    }
  }
}
