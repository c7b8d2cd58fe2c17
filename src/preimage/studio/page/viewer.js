// The canvas: layers with one zoom and pan for all, a wipe between two of them, and whatever tool is in hand.

import { h, icon } from "./dom.js";
import { t } from "./texts.js";

const MOST = 64; // device pixels for a pixel of the picture

/** A picture on a canvas, in device pixels. `width` and `height` are those of the picture; layers may have other ones. */
export class Viewer {
  width = 0;
  height = 0;
  scale = 1; // device pixels for a pixel of the picture
  x = 0; // the point of the picture that is in the middle
  y = 0;
  before = []; // layers, drawn left of the wipe
  after = []; // layers, drawn right of it, or everywhere without one
  painters = []; // functions (context, view), drawn over all
  wipe = null; // where it is, 0 to 1 of the width of the canvas
  original = false; // only `before` while this is held
  tool = null; // {down, move, up, key, cursor}
  #fitted = true;
  #due = false;
  #pointers = new Map();
  #drag = null;

  constructor(label) {
    this.canvas = h("canvas", { class: "canvas", tabindex: "0", role: "img", "aria-label": label });
    this.handle = h(
      "div",
      {
        class: "wipe",
        role: "slider",
        tabindex: "0",
        hidden: true,
        "aria-label": t("wipe.label"),
        "aria-valuemin": "0",
        "aria-valuemax": "100",
        "aria-valuenow": "50",
      },
      h("span", { class: "grip" }, icon("wipe")),
    );
    this.node = h("div", { class: "viewer" }, this.canvas, this.handle);
    this.context = this.canvas.getContext("2d");
    this.#listen();
  }

  /** The size of the picture; the zoom stays if it is that of the last one. */
  frame(width, height) {
    if (width === this.width && height === this.height) return;
    const ratio = this.width ? width / this.width : 0;
    const same = ratio && Math.abs(height / this.height - ratio) < 0.01 * ratio;
    Object.assign(this, { width, height });
    if (same && !this.#fitted) Object.assign(this, { scale: this.scale / ratio, x: this.x * ratio, y: this.y * ratio });
    else this.fit();
    this.redraw();
  }

  toX = (x) => (x - this.x) * this.scale + this.canvas.width / 2;
  toY = (y) => (y - this.y) * this.scale + this.canvas.height / 2;

  /** The point of the picture under a pointer. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const density = this.canvas.width / Math.max(1, box.width);
    return {
      x: ((event.clientX - box.left) * density - this.canvas.width / 2) / this.scale + this.x,
      y: ((event.clientY - box.top) * density - this.canvas.height / 2) / this.scale + this.y,
    };
  }

  /** The part of the picture that can be seen. */
  visible() {
    const [w, hh] = [this.canvas.width / 2 / this.scale, this.canvas.height / 2 / this.scale];
    return {
      x0: Math.max(0, this.x - w),
      y0: Math.max(0, this.y - hh),
      x1: Math.min(this.width, this.x + w),
      y1: Math.min(this.height, this.y + hh),
    };
  }

  /** The whole picture, no larger than 16:1. */
  fit() {
    if (!this.width) return;
    const margin = 24 * (window.devicePixelRatio || 1);
    const room = [Math.max(32, this.canvas.width - margin), Math.max(32, this.canvas.height - margin)];
    this.scale = Math.min(16, room[0] / this.width, room[1] / this.height);
    Object.assign(this, { x: this.width / 2, y: this.height / 2 });
    this.#fitted = true;
    this.redraw();
  }

  /** Zoom to so many device pixels for one of the picture; what is under `point` stays there. */
  zoom(scale, point = { x: this.x, y: this.y }) {
    const least = Math.min(1, 16 / Math.max(1, Math.min(this.width, this.height)));
    const wanted = Math.min(MOST, Math.max(least, scale));
    this.x = point.x + ((this.x - point.x) * this.scale) / wanted;
    this.y = point.y + ((this.y - point.y) * this.scale) / wanted;
    this.scale = wanted;
    this.#fitted = false;
    this.#hold();
    this.redraw();
  }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
    this.#fitted = false;
    this.#hold();
    this.redraw();
  }

  #hold() {
    this.x = Math.min(this.width, Math.max(0, this.x));
    this.y = Math.min(this.height, Math.max(0, this.y));
  }

  setWipe(share) {
    this.wipe = share === null ? null : Math.min(1, Math.max(0, share));
    this.handle.hidden = this.wipe === null;
    if (this.wipe !== null) {
      this.handle.style.left = `${this.wipe * 100}%`;
      this.handle.setAttribute("aria-valuenow", Math.round(this.wipe * 100));
    }
    this.redraw();
  }

  holdOriginal(held) {
    if (this.original === held) return;
    this.original = held;
    this.redraw();
  }

  /** Draw when the browser next does. */
  redraw = () => {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  };

  #draw() {
    const { context, canvas } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.width) return;
    if (Number.isInteger(this.scale)) this.#align();
    this.#ground();
    const split = this.wipe === null ? 0 : Math.round(this.wipe * canvas.width);
    if (this.original) this.#layers(this.before, 0, canvas.width);
    else {
      if (split > 0) this.#layers(this.before, 0, split);
      if (split < canvas.width) this.#layers(this.after.length ? this.after : this.before, split, canvas.width);
      for (const paint of this.painters) paint(context, this);
    }
    this.ondraw?.(this);
  }

  #align() {
    // whole device pixels, so that 1:1 is the pixels themselves
    this.x = (Math.round(this.x * this.scale - this.canvas.width / 2) + this.canvas.width / 2) / this.scale;
    this.y = (Math.round(this.y * this.scale - this.canvas.height / 2) + this.canvas.height / 2) / this.scale;
  }

  #ground() {
    const [x0, y0] = [Math.round(this.toX(0)), Math.round(this.toY(0))];
    this.context.fillStyle = "#808080";
    this.context.fillRect(x0, y0, Math.round(this.toX(this.width)) - x0, Math.round(this.toY(this.height)) - y0);
  }

  #layers(layers, from, to) {
    this.context.save();
    this.context.beginPath();
    this.context.rect(from, 0, to - from, this.canvas.height);
    this.context.clip();
    for (const layer of layers) {
      if (layer.opacity <= 0) continue;
      this.context.globalAlpha = layer.opacity;
      layer.draw(this.context, this);
    }
    this.context.restore();
  }

  #listen() {
    new ResizeObserver(([entry]) => {
      const exact = entry.devicePixelContentBoxSize?.[0];
      const density = window.devicePixelRatio || 1;
      this.canvas.width = Math.max(1, exact ? exact.inlineSize : Math.round(entry.contentRect.width * density));
      this.canvas.height = Math.max(1, exact ? exact.blockSize : Math.round(entry.contentRect.height * density));
      if (this.#fitted) this.fit();
      this.redraw();
    }).observe(this.canvas);
    this.canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (event.shiftKey) this.pan(-event.deltaY, 0);
        else this.zoom(this.scale * 2 ** (-event.deltaY / (event.deltaMode ? 6 : 240)), this.at(event));
      },
      { passive: false },
    );
    this.canvas.addEventListener("pointerdown", (event) => this.#down(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) this.canvas.addEventListener(name, (event) => this.#up(event));
    this.canvas.addEventListener("pointerleave", () => this.tool?.leave?.());
    this.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    this.canvas.addEventListener("dblclick", (event) => this.tool?.double?.(this.at(event)));
    this.#listenToHandle();
  }

  #down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event);
    const pans = !this.tool || event.button === 1 || event.button === 2 || this.panning;
    if (this.#pointers.size === 2) {
      if (this.#drag === "tool") this.tool?.up?.(this.at(event), event);
      this.#drag = "pinch";
    } else if (pans) this.#drag = "pan";
    else {
      this.#drag = "tool";
      this.tool.down(this.at(event), event);
    }
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    const density = this.canvas.width / Math.max(1, this.canvas.clientWidth);
    if (last && this.#drag === "pan")
      this.pan((event.clientX - last.clientX) * density, (event.clientY - last.clientY) * density);
    if (last && this.#drag === "pinch") this.#pinch(event, last, density);
    if (this.#drag === "tool" || !last) {
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.tool?.move?.(this.at(step), step);
    }
    if (last) this.#pointers.set(event.pointerId, event);
    this.onpoint?.(this.at(event));
  }

  #pinch(event, last, density) {
    const other = [...this.#pointers.values()].find((each) => each.pointerId !== event.pointerId);
    if (!other) return;
    const gap = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY);
    const middle = this.at({
      clientX: (event.clientX + other.clientX) / 2,
      clientY: (event.clientY + other.clientY) / 2,
    });
    this.zoom((this.scale * gap(event)) / Math.max(1, gap(last)), middle);
    this.pan(((event.clientX - last.clientX) / 2) * density, ((event.clientY - last.clientY) / 2) * density);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    if (this.#drag === "tool") this.tool?.up?.(this.at(event), event);
    if (this.#pointers.size === 0) this.#drag = null;
  }

  #listenToHandle() {
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      this.setWipe((event.clientX - box.left) / box.width);
    };
    this.handle.addEventListener("pointerdown", (event) => {
      this.handle.setPointerCapture(event.pointerId);
      this.handle.focus();
    });
    this.handle.addEventListener(
      "pointermove",
      (event) => this.handle.hasPointerCapture(event.pointerId) && place(event),
    );
    this.handle.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -0.02, ArrowRight: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.setWipe(this.wipe + by);
    });
  }
}
