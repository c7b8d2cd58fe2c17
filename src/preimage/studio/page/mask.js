// A mask at the picture's own resolution: one byte a pixel, in tiles that exist only where something was painted.
// Undo keeps run lengths of the tiles that a stroke changed, so that 50 steps of a 40-megapixel mask stay small.

export const TILE = 512;
const SHIFT = 9;
const STEPS = 50;

/** Which pixels are to be filled in. */
export class Mask extends EventTarget {
  tiles = new Map(); // number of the tile -> Uint8Array of 0 and 1
  undone = [];
  done = [];
  painted = 0;
  #stroke = null;
  #counts = new Map();
  #dirty = null;

  constructor(width, height) {
    super();
    Object.assign(this, { width, height, columns: Math.ceil(width / TILE), rows: Math.ceil(height / TILE) });
  }

  get empty() {
    return this.painted === 0;
  }

  /** What follows, until `end`, is one step of undo. */
  begin() {
    this.#stroke = new Map();
  }

  end() {
    if (!this.#stroke) return;
    const changes = [];
    for (const [number, before] of this.#stroke) {
      changes.push({ number, before, after: packed(this.tiles.get(number)) });
      this.#count(number);
    }
    this.#stroke = null;
    if (changes.length) {
      this.done.push(changes);
      if (this.done.length > STEPS) this.done.shift();
      this.undone = [];
    }
    this.#tell(true);
  }

  undo() {
    this.#step(this.done, this.undone, "before");
  }

  redo() {
    this.#step(this.undone, this.done, "after");
  }

  #step(from, to, which) {
    const changes = from.pop();
    if (!changes) return;
    for (const change of changes) {
      const tile = unpacked(change[which]);
      if (tile) this.tiles.set(change.number, tile);
      else this.tiles.delete(change.number);
      this.#count(change.number);
      const [x, y] = this.#corner(change.number);
      this.#touch(x, y, x + TILE, y + TILE);
    }
    to.push(changes);
    this.#tell(true);
  }

  /** Set pixels x0 to x1 (left out) of a row to 0 or 1. */
  row(y, x0, x1, value) {
    if (y < 0 || y >= this.height) return;
    const [from, to] = [Math.max(0, x0), Math.min(this.width, x1)];
    if (from >= to) return;
    const [tileRow, start] = [y >> SHIFT, (y & (TILE - 1)) << SHIFT];
    for (let column = from >> SHIFT; column <= (to - 1) >> SHIFT; column++) {
      const tile = this.#writable(tileRow * this.columns + column, value);
      if (!tile) continue;
      const left = column << SHIFT;
      tile.fill(value, start + Math.max(from - left, 0), start + Math.min(to - left, TILE));
    }
  }

  #writable(number, value) {
    let tile = this.tiles.get(number);
    if (!tile && !value) return null;
    if (this.#stroke && !this.#stroke.has(number)) this.#stroke.set(number, packed(tile));
    if (!tile) {
      tile = new Uint8Array(TILE * TILE);
      this.tiles.set(number, tile);
    }
    return tile;
  }

  /** Paint the way of a round brush of this radius from one point to another. */
  line(a, b, radius, value) {
    const r = Math.max(0.71, radius);
    const [top, bottom] = [Math.floor(Math.min(a.y, b.y) - r), Math.ceil(Math.max(a.y, b.y) + r)];
    const length = Math.hypot(b.x - a.x, b.y - a.y);
    const normal = length ? { x: (-(b.y - a.y) / length) * r, y: ((b.x - a.x) / length) * r } : null;
    const corners = normal && [
      { x: a.x + normal.x, y: a.y + normal.y },
      { x: b.x + normal.x, y: b.y + normal.y },
      { x: b.x - normal.x, y: b.y - normal.y },
      { x: a.x - normal.x, y: a.y - normal.y },
    ];
    for (let y = Math.max(0, top); y <= Math.min(this.height - 1, bottom); y++) {
      const middle = y + 0.5;
      let [from, to] = [Infinity, -Infinity];
      for (const end of [a, b]) {
        const half = Math.sqrt(r * r - (middle - end.y) ** 2);
        if (half >= 0) [from, to] = [Math.min(from, end.x - half), Math.max(to, end.x + half)];
      }
      if (corners) for (const x of crossings(corners, middle)) [from, to] = [Math.min(from, x), Math.max(to, x)];
      if (from < to) this.row(y, Math.ceil(from - 0.5), Math.floor(to - 0.5) + 1, value);
    }
    this.#touch(
      Math.floor(Math.min(a.x, b.x) - r),
      Math.max(0, top),
      Math.ceil(Math.max(a.x, b.x) + r) + 1,
      bottom + 1,
    );
    this.#tell(false);
  }

  /** Fill a polygon (even-odd rule). */
  polygon(points, value) {
    const [ys, xs] = [points.map((p) => p.y), points.map((p) => p.x)];
    const [top, bottom] = [
      Math.max(0, Math.floor(Math.min(...ys))),
      Math.min(this.height - 1, Math.ceil(Math.max(...ys))),
    ];
    for (let y = top; y <= bottom; y++) {
      const found = crossings(points, y + 0.5).sort((p, q) => p - q);
      for (let k = 0; k + 1 < found.length; k += 2) {
        this.row(y, Math.ceil(found[k] - 0.5), Math.floor(found[k + 1] - 0.5) + 1, value);
      }
    }
    this.#touch(Math.floor(Math.min(...xs)), top, Math.ceil(Math.max(...xs)) + 1, bottom + 1);
    this.#tell(false);
  }

  /** Remove all; one step of undo. */
  clear() {
    this.begin();
    for (const [number, tile] of this.tiles) {
      this.#stroke.set(number, packed(tile));
      tile.fill(0);
    }
    this.#touch(0, 0, this.width, this.height);
    this.end();
  }

  /** Set a tile-sized region from gray values (white: to be filled in); within begin and end. */
  put(x0, y0, width, height, gray) {
    for (let y = 0; y < height; y++) {
      let x = 0;
      while (x < width) {
        const from = x;
        const white = gray(x, y) >= 128;
        while (x < width && gray(x, y) >= 128 === white) x++;
        if (white) this.row(y0 + y, x0 + from, x0 + x, 1);
      }
    }
    this.#touch(x0, y0, x0 + width, y0 + height);
  }

  /** The values of a row, 0 or 255, written into an array. */
  readRow(y, into) {
    const [tileRow, start] = [y >> SHIFT, (y & (TILE - 1)) << SHIFT];
    into.fill(0);
    for (let column = 0; column < this.columns; column++) {
      const tile = this.tiles.get(tileRow * this.columns + column);
      if (!tile) continue;
      const left = column << SHIFT;
      const width = Math.min(TILE, this.width - left);
      for (let x = 0; x < width; x++) into[left + x] = tile[start + x] ? 255 : 0;
    }
  }

  /** The rectangle that changed since this was last called, or null. */
  takeDirty() {
    const dirty = this.#dirty;
    this.#dirty = null;
    return dirty;
  }

  /** The mask as text, to be kept over a reload of the page. */
  toText() {
    const tiles = [...this.tiles].map(([number, tile]) => [number, packed(tile)]).filter(([, runs]) => runs);
    return JSON.stringify(tiles.map(([number, runs]) => [number, [...runs]]));
  }

  /** Take what `toText` gave for a mask of the same size. */
  fromText(text) {
    for (const [number, runs] of JSON.parse(text)) {
      this.tiles.set(number, unpacked(Uint32Array.from(runs)));
      this.#count(number);
    }
    this.#touch(0, 0, this.width, this.height);
  }

  #touch(x0, y0, x1, y1) {
    const d = this.#dirty ?? { x0: Infinity, y0: Infinity, x1: 0, y1: 0 };
    this.#dirty = {
      x0: Math.max(0, Math.min(d.x0, x0)),
      y0: Math.max(0, Math.min(d.y0, y0)),
      x1: Math.min(this.width, Math.max(d.x1, x1)),
      y1: Math.min(this.height, Math.max(d.y1, y1)),
    };
  }

  #corner(number) {
    return [(number % this.columns) * TILE, Math.floor(number / this.columns) * TILE];
  }

  #count(number) {
    const tile = this.tiles.get(number);
    let count = 0;
    if (tile) for (let k = 0; k < tile.length; k++) count += tile[k];
    if (tile && !count) this.tiles.delete(number);
    this.painted += count - (this.#counts.get(number) ?? 0);
    this.#counts.set(number, count);
  }

  #tell(settled) {
    this.dispatchEvent(new CustomEvent("change", { detail: { settled } }));
  }
}

/** Where a horizontal line crosses the sides of a polygon. */
function crossings(points, y) {
  const found = [];
  for (let k = 0; k < points.length; k++) {
    const [a, b] = [points[k], points[(k + 1) % points.length]];
    if (a.y <= y !== b.y <= y) found.push(a.x + ((y - a.y) / (b.y - a.y)) * (b.x - a.x));
  }
  return found;
}

/** Run lengths of a tile, the first of zeros; null for an empty one. */
export function packed(tile) {
  if (!tile) return null;
  const runs = [];
  let [value, from] = [0, 0];
  while (from < tile.length) {
    const found = tile.indexOf(1 - value, from);
    const to = found < 0 ? tile.length : found;
    runs.push(to - from);
    [value, from] = [1 - value, to];
  }
  return runs.length === 1 ? null : Uint32Array.from(runs);
}

/** The tile of run lengths. */
export function unpacked(runs) {
  if (!runs) return null;
  const tile = new Uint8Array(TILE * TILE);
  let at = 0;
  runs.forEach((run, k) => {
    if (k % 2) tile.fill(1, at, at + run);
    at += run;
  });
  return tile;
}
