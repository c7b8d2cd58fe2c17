// Layers of the viewer: pictures that are fetched by region, at the resolution that the screen can show.

const TILE = 512;
const AT_ONCE = 4;
const KEPT = 160;

/** A picture in tiles of a pyramid: level L has one pixel for 2^L of the picture. */
export class TiledLayer {
  #tiles = new Map();
  #loading = 0;
  #failed = new Set();

  /** `url({x, y, w, h, out})` is the address of a region; `changed()` is called when there is more to draw. */
  constructor(width, height, url, changed) {
    Object.assign(this, { width, height, url, changed, opacity: 1 });
    this.top = Math.max(0, Math.ceil(Math.log2(Math.max(width, height) / TILE)));
  }

  /** Whether all that was needed for the last drawing was there. */
  complete = false;

  draw(context, view) {
    const ratio = this.width / view.width;
    const scale = view.scale / ratio; // device pixels for a pixel of this picture
    const level = Math.min(this.top, Math.max(0, Math.floor(Math.log2(1 / scale) + 1e-6)));
    context.imageSmoothingEnabled = smooth(scale);
    context.imageSmoothingQuality = "high";
    for (let above = this.top; above > level; above--) this.#drawLevel(context, view, ratio, above, above === this.top);
    this.complete = this.#drawLevel(context, view, ratio, level, true);
  }

  #drawLevel(context, view, ratio, level, wanted) {
    const side = TILE * 2 ** level;
    const seen = view.visible();
    const first = { x: Math.floor((seen.x0 * ratio) / side), y: Math.floor((seen.y0 * ratio) / side) };
    const last = { x: Math.ceil((seen.x1 * ratio) / side), y: Math.ceil((seen.y1 * ratio) / side) };
    let all = true;
    for (let row = Math.max(0, first.y); row < Math.min(last.y, Math.ceil(this.height / side)); row++) {
      for (let column = Math.max(0, first.x); column < Math.min(last.x, Math.ceil(this.width / side)); column++) {
        const key = `${level}/${column}/${row}`;
        const tile = this.#tiles.get(key);
        if (tile?.image) this.#place(context, view, ratio, tile);
        else all = false;
        if (!tile && wanted) this.#load(key, column * side, row * side, side);
      }
    }
    return all;
  }

  #place(context, view, ratio, tile) {
    const x0 = Math.round(view.toX(tile.x / ratio));
    const y0 = Math.round(view.toY(tile.y / ratio));
    const x1 = Math.round(view.toX((tile.x + tile.w) / ratio));
    const y1 = Math.round(view.toY((tile.y + tile.h) / ratio));
    context.drawImage(tile.image, x0, y0, x1 - x0, y1 - y0);
    tile.used = performance.now();
  }

  #load(key, x, y, side) {
    if (this.#loading >= AT_ONCE || this.#failed.has(key)) return;
    const tile = { x, y, w: Math.min(side, this.width - x), h: Math.min(side, this.height - y), image: null, used: 0 };
    this.#tiles.set(key, tile);
    this.#loading += 1;
    loadImage(this.url({ x, y, w: tile.w, h: tile.h, out: TILE }))
      .then((image) => Object.assign(tile, { image, used: performance.now() }))
      .catch(() => {
        this.#tiles.delete(key);
        this.#failed.add(key);
      })
      .finally(() => {
        this.#loading -= 1;
        this.#forget();
        this.changed();
      });
  }

  #forget() {
    if (this.#tiles.size <= KEPT) return;
    const old = [...this.#tiles].filter(([, tile]) => tile.image).sort(([, a], [, b]) => a.used - b.used);
    for (const [key] of old.slice(0, this.#tiles.size - KEPT)) this.#tiles.delete(key);
  }
}

/** One image over the whole picture, as a preview of a fit; the last one stays until the next is there. */
export class ImageLayer {
  image = null;
  opacity = 1;
  #url = null;

  constructor(changed) {
    this.changed = changed;
  }

  /** Show another image; resolves when it is there, to nothing when a later one overtook it. */
  async show(url) {
    if (url === this.#url) return this.image;
    this.#url = url;
    const image = await loadImage(url);
    if (url !== this.#url) return null;
    this.image = image;
    this.changed();
    return image;
  }

  draw(context, view) {
    if (!this.image) return;
    const scale = (view.scale * view.width) / this.image.naturalWidth;
    context.imageSmoothingEnabled = smooth(scale);
    const x0 = Math.round(view.toX(0));
    const y0 = Math.round(view.toY(0));
    context.drawImage(
      this.image,
      x0,
      y0,
      Math.round(view.toX(view.width)) - x0,
      Math.round(view.toY(view.height)) - y0,
    );
  }
}

/** Whole multiples show the pixels themselves; between them, and far away, they are interpolated. */
const smooth = (scale) => !Number.isInteger(scale) && scale < 4;

/** An image that is decoded and can be drawn. */
export async function loadImage(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}
