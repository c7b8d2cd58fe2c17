// A file on the stage: its layer, its pages, its contrast window, and what it is in words.

import { api } from "./api.js";
import { h } from "./dom.js";
import { TiledLayer } from "./layers.js";
import { slider } from "./stage.js";
import { bytes, number, seconds, t, tOr } from "./texts.js";

/** Pages and contrast of a file; `changed()` when another view is to be drawn. */
export class PictureControls {
  page = 1;
  low = null;
  high = null;

  constructor(facts, changed) {
    this.changed = changed;
    this.node = h("div", { class: "picture-controls" });
    if (facts.pages > 1) this.node.append(this.#pages(facts.pages));
    if (facts.range && (facts.float || facts.bits > 8)) this.node.append(this.#window(facts));
    this.node.hidden = !this.node.children.length;
  }

  #pages(count) {
    const { node } = slider(t("picture.page"), {
      min: 1,
      max: count,
      step: 1,
      value: 1,
      show: (page) => t("picture.pageOf", { page, count }),
      oninput: (page) => {
        this.page = page;
        this.changed();
      },
    });
    return node;
  }

  #window(facts) {
    const [black, white] = facts.window ?? facts.range;
    const [least, most] = [Math.min(facts.range[0], black), Math.max(facts.range[1], white)];
    const step = facts.float ? (most - least) / 1000 || 0.001 : 1;
    const field = (name, value) =>
      h("input", {
        type: "number",
        step: "any",
        value: String(value),
        "aria-label": t(`picture.${name}`),
        onchange: () => take(),
      });
    const [low, high] = [field("low", rounded(black)), field("high", rounded(white))];
    const range = (name, value) =>
      h("input", {
        type: "range",
        min: least,
        max: most,
        step,
        value: String(value),
        "aria-label": t(`picture.${name}`),
        oninput: () => {
          (name === "low" ? low : high).value = range_of(name).value;
          take();
        },
      });
    const [lowRange, highRange] = [range("low", black), range("high", white)];
    const range_of = (name) => (name === "low" ? lowRange : highRange);
    const take = () => {
      const [a, b] = [Number(low.value), Number(high.value)];
      if (!(b > a)) return;
      [lowRange.value, highRange.value] = [a, b];
      [this.low, this.high] = [a, b];
      clearTimeout(this.due);
      this.due = setTimeout(this.changed, 120);
    };
    const reset = h(
      "button",
      {
        type: "button",
        class: "text-button",
        onclick: () => {
          [low.value, high.value] = [rounded(black), rounded(white)];
          [lowRange.value, highRange.value] = [black, white];
          [this.low, this.high] = [null, null];
          this.changed();
        },
      },
      t("picture.reset"),
    );
    return h(
      "div",
      { class: "window", role: "group", "aria-label": t("picture.window") },
      h("span", { class: "quiet" }, t("picture.window")),
      low,
      lowRange,
      highRange,
      high,
      reset,
    );
  }

  /** What the views are asked with. */
  get query() {
    return { page: this.page > 1 ? this.page : null, low: this.low, high: this.high };
  }
}

const rounded = (value) => Number(value.toPrecision(6));

/** The layer of a file. */
export function fileLayer(file, controls, changed) {
  const { width, height } = file.facts;
  return new TiledLayer(width, height, (region) => api.fileView(file.id, { ...region, ...controls?.query }), changed);
}

/** What a file is, as a list. */
export function factsOf(file, suggests = true) {
  const { facts } = file;
  if (file.error) return h("p", { class: "field-error" }, file.error);
  if (!facts) return h("p", { class: "quiet", role: "status" }, t("facts.measuring"));
  const pixels = facts.width * facts.height;
  const { suggested, noise } = facts;
  const rows = [
    [
      t("facts.size"),
      t(pixels < 1e5 ? "facts.pixels" : "facts.megapixels", {
        w: number(facts.width),
        h: number(facts.height),
        mp: number(Math.round(pixels / 1e5) / 10),
      }),
    ],
    [
      t("facts.depth"),
      [
        t("facts.bits", { bits: facts.bits, dtype: facts.dtype }),
        t(facts.channels === 1 ? "facts.gray" : "facts.channels", { n: facts.channels }),
        facts.alpha ? t("facts.alpha") : null,
      ]
        .filter(Boolean)
        .join(", "),
    ],
    facts.pages > 1 ? [t("facts.pages"), number(facts.pages)] : null,
    facts.range && (facts.float || facts.bits > 8)
      ? [t("facts.range"), t("facts.fromTo", { a: number(facts.range[0]), b: number(facts.range[1]) })]
      : null,
    [t("facts.file"), `${facts.format ?? ""} ${bytes(file.bytes)}`.trim()],
    [t("facts.noise"), noise ? t("facts.sigma", { kind: noise.kind, sigma: number(noise.sigma) }) : t("facts.noNoise")],
    facts.jpeg ? [t("facts.jpeg"), number(facts.jpeg)] : null,
    suggests && suggested ? [t("facts.suggested"), taskName(suggested.task)] : null,
    suggests && suggested?.why && suggested.why !== noise?.words ? ["", suggested.why] : null,
  ];
  return [
    h(
      "dl",
      { class: "facts" },
      rows.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
    ),
    facts.remarks?.length
      ? h(
          "ul",
          { class: "remarks" },
          facts.remarks.map((line) => h("li", {}, line)),
        )
      : null,
  ];
}

/** "about 25 s on this machine", if the server could estimate it. */
export function expected(file, task) {
  const span = file?.facts?.seconds?.[task];
  return span ? t("facts.expected", { time: seconds(span) }) : "";
}

/** The name of a task for people. */
export const taskName = (name) => tOr(`task.${name}`, name.replaceAll("-", " "));

/** A picture that stands for a file; its name is beside it, so that it has none itself. */
export function thumbnail(url) {
  const image = h("img", { class: "thumb", alt: "", loading: "lazy", src: url });
  image.addEventListener("error", () => image.classList.add("missing"));
  return image;
}
