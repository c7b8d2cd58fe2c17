// Brush, eraser and polygon, by pointer and by keyboard, and the mask's files.

import { api, upload } from "./api.js";
import { fill, h, icon, iconButton } from "./dom.js";
import { saveBlob, say, trouble } from "./feedback.js";
import { Mask, TILE } from "./mask.js";
import { MaskOverlay } from "./overlay.js";
import { loadImage } from "./layers.js";
import { grayPng } from "./png.js";
import { number, t } from "./texts.js";

const masks = new Map(); // of each file, as long as the page is open
const SIZES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048];

/** The mask that was painted over a file, if any. */
export function maskOf(file, create = false) {
  if (!masks.has(file.id) && create) {
    const mask = new Mask(file.facts.width, file.facts.height);
    const kept = sessionStorage.getItem(keptAs(file));
    if (kept) mask.fromText(kept);
    masks.set(file.id, mask);
  }
  return masks.get(file.id);
}

const keptAs = (file) => `mask-${file.id}`;

/** Keep a mask over a reload; one that is larger than the browser keeps is lost then. */
function keep(file, mask) {
  try {
    if (mask.empty) sessionStorage.removeItem(keptAs(file));
    else sessionStorage.setItem(keptAs(file), mask.toText());
  } catch {
    sessionStorage.removeItem(keptAs(file));
  }
}

/** The tools over one viewer. */
export class MaskTools {
  mode = "pan";
  #last = null; // where the stroke is
  #cursor = null; // where the brush is shown
  #points = []; // of the polygon
  #pen = false; // pressed by the keyboard

  constructor(viewer, file) {
    Object.assign(this, { viewer, file, mask: maskOf(file, true) });
    this.overlay = new MaskOverlay(this.mask);
    const side = Math.max(file.facts.width, file.facts.height);
    this.size = SIZES.find((size) => size >= side / 40) ?? 64;
    this.mask.addEventListener("change", this.#changed);
    viewer.painters = [(context, view) => this.#paint(context, view)];
    this.node = this.#bar();
    this.setMode("brush");
  }

  close() {
    this.mask.removeEventListener("change", this.#changed);
    this.viewer.tool = null;
    this.viewer.painters = [];
    this.viewer.canvas.classList.remove("painting");
    this.viewer.redraw();
  }

  #bar() {
    const mode = (name, key) =>
      h(
        "button",
        {
          type: "button",
          class: "icon-button",
          "data-mode": name,
          "aria-label": t(`mask.${name}`),
          title: `${t(`mask.${name}`)} (${key})`,
          onclick: () => this.setMode(name),
        },
        icon(name === "pan" ? "hand" : name),
      );
    this.modes = h(
      "div",
      { class: "group", role: "group", "aria-label": t("mask.tools") },
      mode("pan", "V"),
      mode("brush", "B"),
      mode("eraser", "E"),
      mode("polygon", "G"),
    );
    this.slider = h("input", {
      type: "range",
      min: "0",
      max: String(SIZES.length - 1),
      step: "1",
      "aria-label": t("mask.size"),
      oninput: () => this.setSize(SIZES[Number(this.slider.value)]),
    });
    this.sizeText = h("output", { class: "size" });
    this.undoButton = iconButton("undo", t("mask.undo"), () => this.mask.undo());
    this.redoButton = iconButton("redo", t("mask.redo"), () => this.mask.redo());
    this.clearButton = iconButton("trash", t("mask.clear"), () => this.mask.clear());
    this.saveButton = iconButton("download", t("mask.download"), () => this.download());
    this.countText = h("span", { class: "quiet count" });
    const chooser = h("input", {
      type: "file",
      class: "visually-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      onchange: () => chooser.files[0] && this.load(chooser.files[0]),
    });
    const bar = h(
      "div",
      { class: "toolbar mask-bar", role: "toolbar", "aria-label": t("mask.bar") },
      this.modes,
      h("div", { class: "group" }, this.slider, this.sizeText),
      h("div", { class: "group" }, this.undoButton, this.redoButton, this.clearButton),
      h(
        "div",
        { class: "group" },
        iconButton("upload", t("mask.upload"), () => chooser.click()),
        chooser,
        this.saveButton,
      ),
      this.countText,
    );
    this.setSize(this.size);
    queueMicrotask(() => this.#changed());
    return bar;
  }

  keys() {
    const bigger = (by) => this.setSize(SIZES[Math.min(SIZES.length - 1, Math.max(0, SIZES.indexOf(this.size) + by))]);
    return {
      "[": () => bigger(-1),
      "]": () => bigger(1),
      b: () => this.setMode("brush"),
      e: () => this.setMode("eraser"),
      g: () => this.setMode("polygon"),
      v: () => this.setMode("pan"),
      "ctrl+z": () => this.mask.undo(),
      "ctrl+shift+z": () => this.mask.redo(),
      "ctrl+y": () => this.mask.redo(),
      escape: () => this.#dropPolygon(),
    };
  }

  setMode(mode) {
    this.mode = mode;
    this.#dropPolygon();
    for (const button of this.modes.children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    this.viewer.tool = mode === "pan" ? null : this.#tool();
    this.viewer.canvas.classList.toggle("painting", mode !== "pan");
    this.viewer.redraw();
  }

  setSize(size) {
    this.size = size;
    this.slider.value = String(SIZES.indexOf(size));
    this.slider.setAttribute("aria-valuetext", t("mask.pixels", { n: size }));
    this.sizeText.textContent = t("mask.pixels", { n: size });
    this.viewer.redraw();
  }

  #tool() {
    return {
      down: (point) => (this.mode === "polygon" ? this.#addPoint(point) : this.#start(point)),
      move: (point) => {
        this.#cursor = point;
        if (this.#last) this.#go(point);
        this.viewer.redraw();
      },
      up: () => this.#stop(),
      double: () => this.#closePolygon(),
      leave: () => {
        this.#cursor = null;
        this.viewer.redraw();
      },
      key: (event) => this.#key(event),
    };
  }

  #start(point) {
    this.mask.begin();
    this.#last = point;
    this.#go(point);
  }

  #go(point) {
    this.mask.line(this.#last, point, this.size / 2, this.mode === "eraser" ? 0 : 1);
    this.#last = point;
  }

  #stop() {
    if (!this.#last) return;
    this.#last = null;
    this.mask.end();
  }

  #addPoint(point) {
    const first = this.#points[0];
    const near = 10 / this.viewer.scale;
    if (this.#points.length > 2 && Math.hypot(point.x - first.x, point.y - first.y) < near) this.#closePolygon();
    else this.#points.push(point);
    this.viewer.redraw();
  }

  #closePolygon() {
    if (this.mode !== "polygon") return;
    const points = this.#points;
    this.#points = [];
    if (points.length > 2) {
      this.mask.begin();
      this.mask.polygon(points, 1);
      this.mask.end();
    }
    this.viewer.redraw();
  }

  #dropPolygon() {
    this.#points = [];
    this.#pen = false;
    this.#stop();
    this.viewer.redraw();
  }

  /** Arrows move the brush, Space or Enter presses and lifts it (or sets a corner), C closes the polygon. */
  #key(event) {
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (by) {
      const far = event.shiftKey ? 1 : Math.max(1, this.size / 2);
      const from = this.#cursor ?? { x: this.viewer.x, y: this.viewer.y };
      this.#cursor = { x: from.x + by[0] * far, y: from.y + by[1] * far };
      if (this.#pen) this.#go(this.#cursor);
    } else if (event.key === "Enter" || event.key === " ") {
      this.#cursor ??= { x: this.viewer.x, y: this.viewer.y };
      if (this.mode === "polygon") this.#addPoint(this.#cursor);
      else {
        this.#pen = !this.#pen;
        if (this.#pen) this.#start(this.#cursor);
        else this.#stop();
        say(t(this.#pen ? "mask.penDown" : "mask.penUp"));
      }
    } else if (event.key === "c" && this.mode === "polygon") this.#closePolygon();
    else return false;
    this.viewer.redraw();
    return true;
  }

  #paint(context, view) {
    this.overlay.draw(context, view);
    const density = window.devicePixelRatio || 1;
    context.lineWidth = 1.5 * density;
    if (this.#cursor && this.mode !== "polygon" && this.viewer.tool) {
      const radius = Math.max(2, (this.size / 2) * view.scale);
      for (const [color, more] of [
        ["#000", 0],
        ["#fff", 1.5 * density],
      ]) {
        context.strokeStyle = color;
        context.beginPath();
        context.arc(view.toX(this.#cursor.x), view.toY(this.#cursor.y), radius + more, 0, 7);
        context.stroke();
      }
    }
    if (this.#points.length) this.#paintPolygon(context, view, density);
  }

  #paintPolygon(context, view, density) {
    const points = this.#cursor ? [...this.#points, this.#cursor] : this.#points;
    for (const [color, width] of [
      ["#000", 3],
      ["#fff", 1.5],
    ]) {
      context.strokeStyle = color;
      context.lineWidth = width * density;
      context.beginPath();
      points.forEach((p, k) =>
        k ? context.lineTo(view.toX(p.x), view.toY(p.y)) : context.moveTo(view.toX(p.x), view.toY(p.y)),
      );
      context.closePath();
      context.stroke();
    }
  }

  #changed = (event) => {
    this.viewer.redraw();
    if (event && !event.detail.settled) return;
    const { mask } = this;
    if (event) keep(this.file, mask);
    this.undoButton.disabled = !mask.done.length;
    this.redoButton.disabled = !mask.undone.length;
    this.clearButton.disabled = this.saveButton.disabled = mask.empty;
    const share = (100 * mask.painted) / (mask.width * mask.height);
    fill(
      this.countText,
      mask.empty ? t("mask.none") : t("mask.count", { n: number(mask.painted), share: number(share) }),
    );
    this.onchange?.();
  };

  /** The mask as a PNG of the picture's size: white is to be filled in. */
  png() {
    return grayPng(this.mask.width, this.mask.height, (y, into) => this.mask.readRow(y, into));
  }

  async download() {
    saveBlob(await this.png(), `${this.file.name.replace(/\.[^.]+$/, "")}-mask.png`);
  }

  /** Take a mask from a file of any format: white or bright is to be filled in. */
  async load(chosen) {
    try {
      const made = await upload(chosen);
      const facts = made.facts ?? (await waitForFacts(made.id));
      const { width, height } = this.mask;
      if (facts.width !== width || facts.height !== height) {
        throw new Error(t("mask.otherSize", { w: facts.width, h: facts.height, pw: width, ph: height }));
      }
      this.mask.begin();
      for (let y = 0; y < height; y += 2 * TILE) {
        for (let x = 0; x < width; x += 2 * TILE) await this.#loadRegion(made.id, x, y);
      }
      this.mask.end();
      await api.deleteFile(made.id);
    } catch (error) {
      this.mask.end();
      trouble(error);
    }
  }

  async #loadRegion(id, x, y) {
    const [w, hh] = [Math.min(2 * TILE, this.mask.width - x), Math.min(2 * TILE, this.mask.height - y)];
    const image = await loadImage(api.fileView(id, { x, y, w, h: hh, out: 2 * TILE }));
    const canvas = Object.assign(document.createElement("canvas"), { width: w, height: hh });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(0, 0, w, hh);
    this.mask.put(
      x,
      y,
      w,
      hh,
      (column, row) => (data[4 * (row * w + column) + 1] * data[4 * (row * w + column) + 3]) / 255,
    );
  }
}

/** The facts of a file that was just uploaded, when the server has them. */
export async function waitForFacts(id) {
  for (;;) {
    const file = await api.file(id);
    if (file.error) throw new Error(file.error);
    if (file.facts) return file.facts;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
