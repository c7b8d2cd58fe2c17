// Before and after: the result, a wipe, the difference, overlays, the strength of the result and the histogram.

import { api } from "./api.js";
import { Histogram } from "./curve.js";
import { fill, h } from "./dom.js";
import { ImageLayer, TiledLayer, loadImage } from "./layers.js";
import { PictureControls } from "./picture.js";
import { Stage, segments, slider } from "./stage.js";
import { store } from "./state.js";
import { t, tOr } from "./texts.js";

const EXACT_AFTER = 350; // ms without a change of the strength, until the server's own blend is fetched

/** The stage of a job and the controls beside it. */
export class Compare {
  mode = "wipe";
  strength = 1;
  overlay = 0.7;
  layers = {};
  #built = "";
  #exactDue = 0;
  #previewed = 0;

  constructor(signal) {
    this.signal = signal;
    this.stage = new Stage(t("stage.result"));
    this.live = new ImageLayer(this.stage.viewer.redraw);
    this.histogram = new Histogram(t("histogram.title"), signal);
    this.sliders = h("div", { class: "sliders" });
    this.histogram.node.hidden = true;
    signal.addEventListener("abort", () => clearTimeout(this.#exactDue));
  }

  keys() {
    const go = (name) => () => this.modes?.some(([known]) => known === name) && this.setMode(name);
    return { w: go("wipe"), r: go("result"), d: go("difference"), u: go("uncertainty"), o: go("before") };
  }

  /** Show a job as it is now. */
  show(job) {
    const file = store.files.get(job.file);
    const facts = file?.facts ?? null;
    const finished = (job.outputs ?? []).includes("output");
    this.job = job;
    if (facts && !this.pictureControls) {
      const turns = job.options?.page === "all" || facts.pages === 1;
      this.pictureControls = new PictureControls(turns ? facts : { ...facts, pages: 1 }, () => this.#build(true));
      fill(this.stage.below, this.pictureControls.node, this.stage.place);
    }
    const key = `${Boolean(facts)}/${finished}/${JSON.stringify(job.has ?? {})}/${job.state}`;
    if (key !== this.#built) {
      this.#built = key;
      this.#build(false);
    }
    if (!finished && job.preview && job.preview !== this.#previewed) this.#preview(job.preview, job.preview_at);
    this.#cover(facts, finished);
  }

  #cover(facts, finished) {
    const { job } = this;
    if (facts || finished || job.preview || this.layers.before) this.stage.setCover();
    else this.stage.setCover(h("p", { class: "quiet" }, t(job.state === "failed" ? "job.noPicture" : "job.soon")));
  }

  async #preview(numbered, at) {
    this.#previewed = numbered;
    try {
      const image = await this.live.show(api.preview(this.job.id, numbered));
      if (image && !this.layers.before) this.stage.viewer.frame(image.naturalWidth, image.naturalHeight);
      if (!image) return;
      this.stage.node.dataset.previewAt = at; // when its step was computed: benchmarks/studio.py
      this.stage.node.dataset.previews = Number(this.stage.node.dataset.previews ?? 0) + 1;
    } catch {
      // the next one comes
    }
  }

  /** The input as the job has it: its upload may have been deleted since. */
  async #input(layer) {
    if (!this.job.file) return null;
    const facts = store.files.get(this.job.file)?.facts;
    const known = facts && !this.job.options?.preview ? { width: facts.width, height: facts.height } : null;
    return layer("input", {}, known).catch(() => null);
  }

  /** The layers anew: a job that is done has more to show than one that runs. */
  async #build(only_contrast) {
    const key = this.#built;
    const { job, stage } = this;
    const { viewer } = stage;
    const finished = (job.outputs ?? []).includes("output");
    const isPicture = finished && isShown(job);
    const layer = async (name, extra = {}, known = null) => {
      const [what, method] = name.split(":");
      const { width, height } = known ?? (await sizeOf(job, what, method));
      return new TiledLayer(
        width,
        height,
        (region) => api.jobView(job.id, what, { ...region, ...this.pictureControls?.query, method, ...extra }),
        viewer.redraw,
      );
    };
    const names = isPicture ? ["output", ...viewsOf(job)] : [];
    const [before, ...made] = await Promise.all([
      this.#input(layer),
      ...names.map((name) => layer(name).catch(() => null)),
    ]);
    if (this.signal.aborted || key !== this.#built) return;
    this.layers = { result: this.live };
    if (before) this.layers.before = before;
    names.forEach((name, k) => made[k] && (this.layers[name === "output" ? "result" : name] = made[k]));
    this.exact = (strength) => layer("output", { strength });
    this.blends = Boolean(before) && Boolean(job.has?.blend);
    const shown = this.layers.result === this.live ? before : this.layers.result;
    if (shown) viewer.frame(shown.width, shown.height);
    if (shown) this.stage.setCover();
    this.stage.node.dataset.finished = String(isPicture);
    if (!only_contrast) this.#choices(isPicture);
    this.#compose();
    if (job.has?.blend && !only_contrast) this.#count();
  }

  #choices(finished) {
    const names = [];
    if (this.layers.before) names.push("wipe");
    names.push("result");
    if (this.layers.before) names.push("before");
    if (finished) names.push(...viewsOf(this.job).filter((name) => this.layers[name]));
    this.modes = names.map((name) => [name, modeName(name)]);
    if (this.job.has?.film) this.modes.push(["film", t("mode.film")]);
    if (!names.includes(this.mode)) this.mode = names[0];
    this.mode = (finished && names.find((name) => name.startsWith("saliency"))) || this.mode;
    this.segments = segments(t("compare.modes"), this.modes, (name) => this.setMode(name));
    fill(this.stage.tools, this.segments.node);
    this.#sliders();
    this.setMode(this.mode);
  }

  #sliders() {
    const nodes = [];
    if (this.blends && this.layers.result !== this.live) {
      this.strengthSlider = slider(t("strength.label"), {
        min: 0,
        max: 1,
        step: 0.01,
        value: this.strength,
        show: (value) => t("percent", { n: Math.round(100 * value) }),
        oninput: (value) => this.setStrength(value),
      });
      nodes.push(this.strengthSlider.node, h("p", { class: "help" }, t("strength.help")));
    }
    if (Object.keys(this.layers).some(isOverlay)) {
      const { node } = slider(t("overlay.label"), {
        min: 0,
        max: 1,
        step: 0.05,
        value: this.overlay,
        show: (value) => t("percent", { n: Math.round(100 * value) }),
        oninput: (value) => {
          this.overlay = value;
          this.#compose();
        },
      });
      nodes.push(node);
    }
    fill(this.sliders, nodes);
  }

  setMode(name) {
    if (name === "film") {
      this.segments.set(this.mode);
      return this.#film();
    }
    this.mode = name;
    this.segments.set(name);
    this.#compose();
    return undefined;
  }

  /** The blend is drawn at once; the exact one, rounded as in the file, comes from the server a moment later. */
  setStrength(value) {
    this.strength = value;
    this.layers.exact = null;
    clearTimeout(this.#exactDue);
    if (value < 1) {
      this.#exactDue = setTimeout(async () => {
        const exact = await this.exact(value);
        if (this.strength !== value) return;
        this.layers.exact = exact;
        this.#compose();
        this.#count();
      }, EXACT_AFTER);
    } else this.#exactDue = setTimeout(() => this.#count(), EXACT_AFTER);
    this.onstrength?.(value);
    this.#compose();
  }

  #compose() {
    const { viewer } = this.stage;
    const { before, result, exact } = this.layers;
    if (!result) return;
    const blended =
      this.strength < 1 && before && result !== this.live ? [before, result, exact].filter(Boolean) : [result];
    if (result) result.opacity = blended.length > 1 ? this.strength : 1;
    const shown = this.layers[this.mode];
    viewer.before = before ? [before] : blended;
    if (this.mode === "wipe" || this.mode === "result") viewer.after = blended;
    else if (this.mode === "before") viewer.after = viewer.before;
    else if (isOverlay(this.mode)) {
      shown.opacity = this.overlay;
      viewer.after = [...(this.mode === "uncertainty" ? blended : viewer.before), shown];
    } else viewer.after = [shown];
    viewer.setWipe(this.mode === "wipe" ? (viewer.wipe ?? 0.5) : null);
    viewer.canvas.setAttribute("aria-label", t("stage.showing", { what: modeName(this.mode), name: this.job.name }));
  }

  async #count() {
    try {
      const data = await api.histogram(this.job.id, this.strength < 1 ? this.strength : null);
      this.histogram.node.hidden = false;
      this.histogram.show(data, t("histogram.words"));
    } catch {
      this.histogram.node.hidden = true;
    }
  }

  #film() {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const place = h("div", { class: "film" });
    const play = () => fill(place, h("img", { src: api.download(this.job.id, "film"), alt: t("film.alt") }));
    const dialog = h(
      "dialog",
      { class: "dialog wide", "aria-label": t("mode.film"), onclose: () => dialog.remove() },
      place,
      h("form", { method: "dialog", class: "row end" }, h("button", { class: "button", autofocus: true }, t("close"))),
    );
    if (still) fill(place, h("button", { type: "button", class: "button", onclick: play }, t("film.play")));
    else play();
    document.body.append(dialog);
    dialog.showModal();
  }
}

const isOverlay = (name) => name === "uncertainty" || name.startsWith("saliency");

/** The name of a view for people; that of a saliency map is its method, where there are several. */
function modeName(name) {
  const [what, method] = name.split(":");
  return method ?? tOr(`mode.${what}`, what.replaceAll("_", " "));
}

/** What a finished job can show beside its result. */
function viewsOf(job) {
  const { has = {}, options = {} } = job;
  const names = ["difference", "uncertainty"].filter((name) => has[name]);
  const methods = String(options.method ?? "")
    .split(",")
    .map((method) => method.trim())
    .filter(Boolean);
  if (has.saliency) names.push(...(methods.length > 1 ? methods.map((method) => `saliency:${method}`) : ["saliency"]));
  return names;
}

/** Whether the main output of a job is a picture. */
export const isShown = (job) => store.task(job.task)?.outputs[0]?.suffixes?.[0] !== ".json";

/** The size of a view: that of the report, or else that of the picture which the server sends. */
async function sizeOf(job, what, method) {
  const size = job.report?.size;
  if (size && job.has?.blend) return { height: size[0], width: size[1] };
  const image = await loadImage(api.jobView(job.id, what, { out: LARGEST, method }));
  return { width: image.naturalWidth, height: image.naturalHeight };
}

const LARGEST = 4096; // pixels of a side that the server sends
