// Explain: which class a classifier sees, and what it depends on.

import { api } from "./api.js";
import { Compose, tasksOf } from "./compose.js";
import { fill, freshId, h } from "./dom.js";
import { say, wordsOf } from "./feedback.js";
import { offers, resolved, unresolved, uploadButton } from "./filefield.js";
import { CLASSIFIERS } from "./forms.js";
import { store } from "./state.js";
import { number, t } from "./texts.js";

const ORDER = ["saliency", "counterfactual", "inspect", "invert", "recover", "maximize", "purify"];

/** The view: a picture, a classifier, its answer, and a question. */
export class Explain extends Compose {
  skipped = ["classifier", "target"];
  target = null;

  constructor(signal) {
    const rank = (task) => ORDER.indexOf(task.name) + 1 || 99;
    super(
      "explain",
      tasksOf("explain", "defend").sort((a, b) => rank(a) - rank(b)),
      signal,
    );
  }

  takeFrom(job) {
    if (job.options.classifier) this.classifier.value = unresolved(job.options.classifier);
    this.target = job.options.target === undefined ? null : String(job.options.target);
  }

  aboveTasks() {
    const id = freshId("classifier");
    const given = store.start.code_classifiers ?? [];
    this.classifier = h("input", {
      id,
      type: "text",
      list: `${id}-list`,
      autocomplete: "off",
      spellcheck: "false",
      value: localStorage.getItem("classifier") ?? given[0] ?? "",
      "aria-describedby": `${id}-help`,
      placeholder: t("classifier.example"),
      onkeydown: (event) => event.key === "Enter" && this.ask(),
      onchange: () => fill(this.answer),
    });
    const list = offers(`${id}-list`, [...given, ...CLASSIFIERS], ["other"]);
    this.answer = h("div", { class: "answer", "aria-live": "polite" });
    return h(
      "section",
      { class: "box" },
      h("label", { for: id, class: "box-title" }, t("classifier.label")),
      h(
        "div",
        { class: "row tight" },
        this.classifier,
        uploadButton((made) => {
          list.draw();
          this.classifier.value = made.name;
          fill(this.answer);
        }),
      ),
      list.node,
      h("p", { class: "help", id: `${id}-help` }, t("classifier.help")),
      h("button", { type: "button", class: "button", onclick: () => this.ask() }, t("classifier.ask")),
      this.answer,
    );
  }

  /** What does the classifier say? */
  async ask() {
    const name = this.classifier.value.trim();
    if (!name) {
      this.classifier.focus();
      return fill(this.answer, h("p", { class: "field-error" }, t("classifier.missing")));
    }
    localStorage.setItem("classifier", name);
    fill(this.answer, h("p", { class: "quiet", role: "status" }, t("classifier.asking")));
    try {
      const found = await api.classify(resolved(name), this.file.id, this.controls?.page ?? 1);
      this.#show(found);
    } catch (error) {
      fill(this.answer, h("p", { class: "field-error" }, wordsOf(error)));
    }
    return undefined;
  }

  #show({ classes, remarks }) {
    const list = h(
      "ol",
      { class: "classes" },
      classes.map((each) => {
        const bar = h("span", { class: "bar" });
        bar.style.setProperty("--share", each.probability);
        return h(
          "li",
          {},
          h(
            "button",
            {
              type: "button",
              class: "class",
              "data-class": each.name,
              "aria-pressed": "false",
              title: t("classifier.pick"),
              onclick: () => this.setTarget(each),
            },
            h("span", { class: "name" }, each.name),
            h("span", { class: "share" }, t("percent", { n: number(100 * each.probability) })),
            bar,
          ),
        );
      }),
    );
    fill(
      this.answer,
      list,
      h("p", { class: "help" }, t("classifier.pick")),
      (remarks ?? []).map((line) => h("p", { class: "help" }, line)),
    );
    say(t("classifier.said", { name: classes[0]?.name ?? "", share: number(100 * (classes[0]?.probability ?? 0)) }));
    this.list = list;
    this.#mark();
  }

  /** The class that is asked for: one of the answer, or the one that was written. */
  setTarget(each) {
    this.target = this.target === each.name ? null : each.name;
    if (this.targetInput) this.targetInput.value = this.target ?? "";
    this.#mark();
  }

  #mark() {
    for (const button of this.list?.querySelectorAll("button") ?? [])
      button.setAttribute("aria-pressed", String(button.dataset.class === this.target));
  }

  beforeForm(task) {
    const option = task.options.find((each) => each.name === "target");
    this.targetInput = null;
    if (!option) return null;
    const id = freshId("target");
    this.targetInput = h("input", {
      id,
      type: "text",
      autocomplete: "off",
      spellcheck: "false",
      value: this.target ?? "",
      placeholder: t("form.auto"),
      "aria-describedby": `${id}-help`,
      onchange: () => {
        this.target = this.targetInput.value.trim() || null;
        this.#mark();
      },
    });
    return h(
      "div",
      { class: "field" },
      h("label", { for: id }, t("classifier.target")),
      this.targetInput,
      h("p", { class: "help", id: `${id}-help` }, option.help),
    );
  }

  ownOptions() {
    const takes = (name) => this.task.options.some((option) => option.name === name);
    const options = {};
    if (takes("classifier")) {
      const name = this.classifier.value.trim();
      if (!name) {
        this.classifier.focus();
        throw new Error(t("classifier.missing"));
      }
      localStorage.setItem("classifier", name);
      options.classifier = resolved(name);
    }
    const target = this.targetInput?.value.trim();
    if (target) options.target = /^\d+$/.test(target) && !this.#isName(target) ? Number(target) : target;
    return options;
  }

  #isName(text) {
    return [...(this.list?.querySelectorAll("button") ?? [])].some((button) => button.dataset.class === text);
  }
}
