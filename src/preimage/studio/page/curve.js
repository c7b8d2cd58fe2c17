// Curves and histograms on a canvas, in the colors of the page.

import { h } from "./dom.js";
import { number } from "./texts.js";

const HEIGHT = 132;

/** A canvas that is drawn anew when its size, its data or the colors change. */
class Chart {
  data = null;

  constructor(label, signal) {
    this.canvas = h("canvas", { class: "chart", role: "img", "aria-label": label });
    this.label = label;
    this.node = h("figure", { class: "chart-box" }, h("figcaption", {}, label), this.canvas);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(), { signal });
    addEventListener("themechange", () => this.draw(), { signal });
  }

  show(data, words = "") {
    this.data = data;
    this.canvas.setAttribute("aria-label", words ? `${this.label}: ${words}` : this.label);
    this.draw();
  }

  draw() {
    const density = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    if (!width || !this.data) return;
    this.canvas.width = Math.round(width * density);
    this.canvas.height = Math.round(HEIGHT * density);
    const context = this.canvas.getContext("2d");
    context.scale(density, density);
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    context.font = `11px ${style.fontFamily}`;
    context.lineJoin = "round";
    this.paint(context, width, HEIGHT, color);
  }
}

/** Values over steps: `show({lines: [{points, color, dashed}], log, threshold, steps})`. */
export class Curve extends Chart {
  paint(context, width, height, color) {
    const { lines, log, threshold, steps } = this.data;
    const usable = lines.map((line) => ({
      ...line,
      points: line.points.filter(([, y]) => Number.isFinite(y) && (!log || y > 0)),
    }));
    const ys = usable.flatMap((line) => line.points.map(([, y]) => y));
    if (!ys.length) return;
    if (threshold !== null && threshold !== undefined && (!log || threshold > 0)) ys.push(threshold);
    const scale = log ? Math.log : (y) => y;
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    if (this.data.range) [low, high] = this.data.range;
    const last = Math.max(steps ?? 0, ...usable.flatMap((line) => line.points.map(([x]) => x)), 1);
    const box = { left: 58, right: width - 6, top: 8, bottom: height - 18 };
    const toX = (x) => box.left + (x / last) * (box.right - box.left);
    const span = scale(high) - scale(low) || 1;
    const toY = (y) => box.bottom - ((scale(y) - scale(low)) / span) * (box.bottom - box.top);
    context.strokeStyle = color("line");
    context.lineWidth = 1;
    for (const y of [box.top, (box.top + box.bottom) / 2, box.bottom])
      stroke(context, [
        [box.left, Math.round(y) + 0.5],
        [box.right, Math.round(y) + 0.5],
      ]);
    if (threshold !== null && threshold !== undefined && (!log || threshold > 0)) {
      context.setLineDash([4, 4]);
      context.strokeStyle = color("ink-2");
      stroke(context, [
        [box.left, toY(threshold)],
        [box.right, toY(threshold)],
      ]);
      context.setLineDash([]);
    }
    for (const line of usable) {
      context.strokeStyle = color(line.color);
      context.lineWidth = 1.75;
      if (line.dashed) context.setLineDash([3, 3]);
      stroke(
        context,
        line.points.map(([x, y]) => [toX(x), toY(y)]),
      );
      context.setLineDash([]);
    }
    write(context, color, number(high), box.left - 6, box.top + 4, "right");
    write(context, color, number(low), box.left - 6, box.bottom + 4, "right");
    write(context, color, "0", box.left, height - 4);
    write(context, color, number(last), box.right, height - 4, "right");
  }
}

/** Counts of the values before and after: `show({bins, input, output})`, a list of counts for each channel. */
export class Histogram extends Chart {
  paint(context, width, height, color) {
    const { bins, input = [], output = [] } = this.data;
    const most = Math.max(1, ...[...input, ...output].map((counts) => inner(counts)));
    const box = { left: 6, right: width - 6, top: 6, bottom: height - 18 };
    const names = input.length >= 3 || output.length >= 3 ? ["red", "green", "blue"] : ["accent"];
    const line = (counts, name, dashed) => {
      context.strokeStyle = color(name);
      context.lineWidth = dashed ? 1 : 1.6;
      context.setLineDash(dashed ? [2, 3] : []);
      stroke(
        context,
        counts.map((count, k) => [
          box.left + (k / Math.max(1, counts.length - 1)) * (box.right - box.left),
          box.bottom - Math.min(1, count / most) * (box.bottom - box.top),
        ]),
      );
      context.setLineDash([]);
    };
    context.strokeStyle = color("line");
    stroke(context, [
      [box.left, box.bottom + 0.5],
      [box.right, box.bottom + 0.5],
    ]);
    input.slice(0, names.length).forEach((counts, k) => line(counts, names[k], true));
    output.slice(0, names.length).forEach((counts, k) => line(counts, names[k], false));
    if (!bins?.length) return;
    write(context, color, number(bins[0]), box.left, height - 4);
    write(context, color, number(bins.at(-1)), box.right, height - 4, "right");
  }
}

/** The largest count but for the ends, where clipped values pile up. */
const inner = (counts) => Math.max(...(counts.length > 8 ? counts.slice(2, -2) : counts));

function stroke(context, points) {
  context.beginPath();
  points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

function write(context, color, text, x, y, align = "left") {
  context.fillStyle = color("ink-2");
  context.textAlign = align;
  context.fillText(text, x, y);
}
