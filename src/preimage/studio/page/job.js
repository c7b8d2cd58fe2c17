// A job: the picture as it comes, the curve, why it would stop; and what is to be seen and had when it is done.

import { api } from "./api.js";
import { Compare } from "./compare.js";
import { Curve } from "./curve.js";
import { fill, h, icon, iconButton } from "./dom.js";
import { confirmed, copy, say, trouble } from "./feedback.js";
import { bind } from "./keys.js";
import { takePictures } from "./picker.js";
import { taskName } from "./picture.js";
import { store } from "./state.js";
import { moment, number, seconds, t, tOr } from "./texts.js";

const OVER = ["done", "cancelled", "failed"];
const CURVE_EVERY = 1000; // ms

/** Whether a job has ended. */
export const isOver = (job) => OVER.includes(job.state);

/** The state of a job as a small label. */
export function badge(state) {
  return h("span", { class: `badge ${state}` }, t(`state.${state}`));
}

/** The view of one job. */
export class JobView {
  #state = null;
  #curveDue = 0;
  #actionsFor = null;

  constructor(id, signal) {
    this.id = id;
    this.compare = new Compare(signal);
    const { stage } = this.compare;
    this.head = h("div", { class: "job-head" });
    this.progress = h("div", { class: "progress" });
    this.actions = h("div", { class: "row wrap actions" });
    this.why = h("p", { class: "why" });
    this.loss = new Curve(t("curve.loss"), signal);
    this.rule = new Curve(t("curve.rule"), signal);
    this.probability = new Curve(t("curve.probability"), signal);
    this.curves = h(
      "section",
      { class: "curves", "aria-label": t("curve.title"), hidden: true },
      this.loss.node,
      this.rule.node,
      this.probability.node,
    );
    this.files = h("section", { class: "downloads" });
    this.command = h("section", { class: "command" });
    this.numbers = h("section", {});
    this.panel = h(
      "aside",
      { class: "panel", "aria-label": t("panel.label") },
      this.head,
      this.progress,
      this.why,
      this.actions,
      this.compare.sliders,
      this.files,
      this.curves,
      this.compare.histogram.node,
      this.numbers,
      this.command,
    );
    this.node = h("div", { class: "work" }, stage.node, this.panel);
    store.watch("jobs", (changed) => (changed === null || changed === id) && this.#renew(), signal);
    takePictures((file) => {
      location.hash = `#/restore/${file.id}`;
    });
    bind({ ...stage.keys(), ...this.compare.keys() }, stage.viewer);
    signal.addEventListener("abort", () => clearTimeout(this.#curveDue));
    this.#renew();
    this.#curve();
  }

  #renew() {
    const job = store.jobs.get(this.id);
    if (!job)
      return fill(
        this.node,
        h("p", { class: "gone" }, t("job.gone"), " ", h("a", { href: "#/queue" }, t("nav.queue"))),
      );
    this.job = job;
    const changed = job.state !== this.#state;
    this.#state = job.state;
    if (changed) this.#heading(job);
    this.#progress(job);
    this.#buttons(job);
    this.compare.show(job);
    if (changed) {
      this.#downloads(job);
      say(t("job.spoken", { name: taskName(job.task), state: t(`state.${job.state}`) }));
      if (isOver(job)) this.#curve();
    }
    return undefined;
  }

  #heading(job) {
    const view = store.task(job.task)?.kind === "restore" ? "restore" : "explain";
    const file = store.files.get(job.file);
    fill(
      this.head,
      h(
        "div",
        { class: "row" },
        h("h1", {}, taskName(job.task)),
        h(
          "span",
          { class: "group" },
          badge(job.state),
          iconButton("trash", t("job.delete"), () => this.#delete()),
        ),
      ),
      h(
        "p",
        { class: "quiet file-name" },
        job.name,
        " · ",
        t("job.number", { n: job.number }),
        " · ",
        moment(job.created),
      ),
      file ? h("p", {}, h("a", { href: `#/${view}/${file.id}/${job.id}` }, t("job.again"))) : null,
    );
    fill(this.command, h("h2", {}, t("command.title")), commandLine(job.command));
  }

  #progress(job) {
    const share = job.of ? job.step / (Math.max(job.step, Math.min(job.usual ?? job.of, job.of)) || 1) : 0;
    const parts = [
      job.of ? t("job.step", { step: number(job.step), of: number(job.of) }) : null,
      (!isOver(job) && job.phase) || null,
      !isOver(job) && job.seconds_left !== null && job.seconds_left !== undefined
        ? t("job.left", { time: seconds(job.seconds_left) })
        : null,
      isOver(job) && job.begun && job.ended ? t("job.took", { time: seconds(span(job.begun, job.ended)) }) : null,
    ];
    this.bar ??= h("progress", { max: "1", "aria-label": t("job.progress") });
    this.bar.value = job.state === "done" ? 1 : share;
    this.bar.hidden = isOver(job);
    this.text ??= h("p", { class: "quiet numbers" });
    this.text.textContent = parts.filter(Boolean).join(" · ");
    if (!this.bar.parentNode) this.progress.append(this.bar, this.text);
    this.why.textContent = job.error ?? (job.why && !isOver(job) ? t("job.rule", { why: job.why }) : (job.why ?? ""));
    this.why.className = job.error ? "why field-error" : "why";
    this.why.hidden = !this.why.textContent;
  }

  #buttons(job) {
    if (this.#actionsFor === job.state) return;
    this.#actionsFor = job.state;
    const button = (name, symbol, action, style = "") =>
      h(
        "button",
        { type: "button", class: `button ${style}`, onclick: () => this.#act(action) },
        icon(symbol),
        t(`act.${name}`),
      );
    const buttons = [];
    if (job.state === "running") buttons.push(button("pause", "pause", "pause"), button("cancel", "stop", "cancel"));
    if (job.state === "paused")
      buttons.push(button("resume", "play", "resume", "primary"), button("cancel", "stop", "cancel"));
    if (job.state === "waiting") buttons.push(button("cancelWaiting", "stop", "cancel"));
    this.actions.hidden = !buttons.length;
    fill(this.actions, buttons);
  }

  async #act(action) {
    try {
      const job = await api.act(this.id, action);
      if (job?.id) store.put("jobs", job);
    } catch (error) {
      trouble(error);
    }
  }

  async #delete() {
    if (!(await confirmed(t("job.sure", { name: this.job.name }), t("delete")))) return;
    try {
      await api.deleteJob(this.id);
      location.hash = "#/queue";
    } catch (error) {
      trouble(error);
    }
  }

  async #curve() {
    clearTimeout(this.#curveDue);
    if (!this.job) return;
    if (this.job.state !== "waiting") {
      try {
        this.#showCurve(await api.curve(this.id));
      } catch {
        this.curves.hidden = !this.loss.data;
      }
    }
    if (this.job && !isOver(this.job)) this.#curveDue = setTimeout(() => this.#curve(), CURVE_EVERY);
  }

  #showCurve({ loss = [], rule = null, score = null, probability = [] }) {
    const { step } = this.job;
    const line = (points, color, name) => ({ lines: [{ points, color }], steps: isOver(this.job) ? step : null, name });
    const last = (points) =>
      points.length ? t("curve.last", { value: number(points.at(-1)[1]), step: number(points.at(-1)[0]) }) : "";
    this.curves.hidden = !loss.length;
    this.loss.show({ ...line(loss, "accent"), log: loss.every(([, y]) => y > 0) }, last(loss));
    const points = rule?.points ?? score ?? [];
    this.rule.node.hidden = !points.length;
    if (points.length) {
      this.rule.node.firstChild.textContent = t("curve.ruleNamed", { name: rule?.name ?? this.job.rule?.name ?? "" });
      this.rule.show({ ...line(points, "accent"), threshold: rule?.threshold ?? null }, last(points));
    }
    this.probability.node.hidden = !probability?.length;
    if (probability?.length)
      this.probability.show({ ...line(probability, "accent"), range: [0, 1] }, last(probability));
  }

  #downloads(job) {
    const written = job.outputs ?? [];
    const names = [
      ...["output"].filter((name) => written.includes(name)),
      ...written.filter((name) => name !== "output"),
    ];
    if (job.report && !names.includes("report")) names.push("report");
    this.links = names.map((name) => downloadLink(job, name));
    this.files.hidden = !names.length;
    fill(this.files, h("h2", {}, t("download.title")), h("div", { class: "row wrap" }, this.links));
    this.compare.onstrength = (strength) => {
      const main = this.links.find((each) => each.dataset.output === "output");
      main?.setAttribute("href", api.download(job.id, "output", strength < 1 ? strength : null));
    };
    const lines = job.lines?.length
      ? h(
          "ul",
          { class: "lines" },
          job.lines.map((text) => h("li", {}, text)),
        )
      : null;
    const numbers = job.report
      ? h(
          "pre",
          { class: "report", tabindex: "0", "aria-label": t("report.title") },
          JSON.stringify(job.report, null, 2),
        )
      : null;
    const open = !job.has?.blend; // of a restoration the lines repeat what is said above
    const summary = h("summary", {}, t("report.title"));
    fill(this.numbers, lines || numbers ? h("details", { class: "more", open }, summary, lines, numbers) : null);
  }
}

function downloadLink(job, name) {
  const text = tOr(`output.${name}`, name.replaceAll("_", " "));
  const style = name === "output" ? "button primary" : "button";
  return h(
    "a",
    { class: style, "data-output": name, href: api.download(job.id, name), download: "" },
    icon("download"),
    text,
  );
}

/** A command with a button that copies it. */
export function commandLine(command) {
  const text = h("code", { tabindex: "0" }, command);
  const button = iconButton("copy", t("command.copy"), async () => {
    if (await copy(command)) {
      button.classList.add("did");
      setTimeout(() => button.classList.remove("did"), 1200);
    } else getSelection().selectAllChildren(text);
  });
  return h("div", { class: "command-line" }, text, button);
}

const span = (from, to) => (typeof from === "number" ? to - from : (new Date(to) - new Date(from)) / 1000);
