// The mask in red over the picture: a small copy of all for the whole view, full tiles where one looks closely.

import { TILE } from "./mask.js";

const RED = [226, 42, 54, 150];
const SMALL = 2048;
const KEPT = 96;

/** Draws a mask; only what changed is drawn anew. */
export class MaskOverlay {
  #tiles = new Map();

  constructor(mask) {
    this.mask = mask;
    this.factor = Math.max(1, Math.ceil(Math.max(mask.width, mask.height) / SMALL));
    this.small = canvas(Math.ceil(mask.width / this.factor), Math.ceil(mask.height / this.factor));
    this.smallContext = this.small.getContext("2d");
    this.#renew({ x0: 0, y0: 0, x1: mask.width, y1: mask.height });
  }

  draw(context, view) {
    const dirty = this.mask.takeDirty();
    if (dirty) this.#renew(dirty);
    if (!this.mask.tiles.size) return;
    context.imageSmoothingEnabled = view.scale < 1;
    if (view.scale * this.factor < 1.5 || this.factor === 1) this.#drawSmall(context, view);
    else this.#drawTiles(context, view);
  }

  #drawSmall(context, view) {
    const [x0, y0] = [view.toX(0), view.toY(0)];
    const [x1, y1] = [view.toX(this.small.width * this.factor), view.toY(this.small.height * this.factor)];
    context.drawImage(this.small, x0, y0, x1 - x0, y1 - y0);
  }

  #drawTiles(context, view) {
    const seen = view.visible();
    const last = { x: Math.ceil(seen.x1 / TILE), y: Math.ceil(seen.y1 / TILE) };
    for (let row = Math.floor(seen.y0 / TILE); row < last.y; row++) {
      for (let column = Math.floor(seen.x0 / TILE); column < last.x; column++) {
        const tile = this.mask.tiles.get(row * this.mask.columns + column);
        if (!tile) continue;
        const drawn = this.#canvasOf(row * this.mask.columns + column, tile);
        const [x, y] = [Math.round(view.toX(column * TILE)), Math.round(view.toY(row * TILE))];
        const right = Math.round(view.toX((column + 1) * TILE));
        context.drawImage(drawn, x, y, right - x, Math.round(view.toY((row + 1) * TILE)) - y);
      }
    }
  }

  #canvasOf(number, tile) {
    let drawn = this.#tiles.get(number);
    if (drawn) return drawn;
    drawn = canvas(TILE, TILE);
    paint(drawn.getContext("2d"), 0, 0, TILE, TILE, (x, y) => tile[y * TILE + x]);
    this.#tiles.set(number, drawn);
    if (this.#tiles.size > KEPT) this.#tiles.delete(this.#tiles.keys().next().value);
    return drawn;
  }

  #renew(dirty) {
    for (const [number, drawn] of this.#tiles) this.#renewTile(number, drawn, dirty);
    const f = this.factor;
    const [x0, y0] = [Math.floor(dirty.x0 / f), Math.floor(dirty.y0 / f)];
    const [x1, y1] = [Math.ceil(dirty.x1 / f), Math.ceil(dirty.y1 / f)];
    if (x1 > x0 && y1 > y0)
      paint(this.smallContext, x0, y0, x1 - x0, y1 - y0, (x, y) => this.#any((x0 + x) * f, (y0 + y) * f, f));
  }

  #renewTile(number, drawn, dirty) {
    const [left, top] = [(number % this.mask.columns) * TILE, Math.floor(number / this.mask.columns) * TILE];
    const [x0, y0] = [Math.max(0, dirty.x0 - left), Math.max(0, dirty.y0 - top)];
    const [x1, y1] = [Math.min(TILE, dirty.x1 - left), Math.min(TILE, dirty.y1 - top)];
    if (x1 <= x0 || y1 <= y0) return;
    const tile = this.mask.tiles.get(number);
    if (!tile) this.#tiles.delete(number);
    else paint(drawn.getContext("2d"), x0, y0, x1 - x0, y1 - y0, (x, y) => tile[(y0 + y) * TILE + x0 + x]);
  }

  /** Whether a square of the picture has a pixel of the mask, so that thin lines stay visible from afar. */
  #any(x, y, side) {
    const [right, bottom] = [Math.min(x + side, this.mask.width), Math.min(y + side, this.mask.height)];
    for (let row = y; row < bottom; row++) {
      const base = Math.floor(row / TILE) * this.mask.columns;
      for (let column = x; column < right; column++) {
        const tile = this.mask.tiles.get(base + Math.floor(column / TILE));
        if (tile && tile[(row % TILE) * TILE + (column % TILE)]) return 1;
      }
    }
    return 0;
  }
}

function paint(context, x0, y0, width, height, value) {
  const image = context.createImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const red = (RED[3] << 24) | (RED[2] << 16) | (RED[1] << 8) | RED[0];
  for (let y = 0, k = 0; y < height; y++) for (let x = 0; x < width; x++, k++) words[k] = value(x, y) ? red : 0;
  context.putImageData(image, x0, y0);
}

function canvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}
