// The stage: the viewer, what is above it (zoom and the tools of a view) and what is below (where one is).

import { fill, h, iconButton } from "./dom.js";
import { number, t } from "./texts.js";
import { Viewer } from "./viewer.js";

/** A viewer with its bars. `tools` is for those of a view. */
export class Stage {
  constructor(label) {
    this.viewer = new Viewer(label);
    this.tools = h("div", { class: "tools" });
    this.zoomText = h("output", { class: "zoom-text" });
    const zoom = (name, label2, go) =>
      h("button", { type: "button", class: "text-button", title: label2, "aria-label": label2, onclick: go }, name);
    const { viewer } = this;
    this.bar = h(
      "div",
      { class: "toolbar stage-bar", role: "toolbar", "aria-label": t("stage.bar") },
      this.tools,
      h(
        "div",
        { class: "group zoom" },
        iconButton("minus", t("zoom.out"), () => viewer.zoom(viewer.scale / 1.5)),
        this.zoomText,
        iconButton("plus", t("zoom.in"), () => viewer.zoom(viewer.scale * 1.5)),
        iconButton("fit", t("zoom.fit"), () => viewer.fit()),
        zoom("1:1", t("zoom.one"), () => viewer.zoom(1)),
        zoom("8:1", t("zoom.eight"), () => viewer.zoom(8)),
      ),
    );
    this.below = h("div", { class: "below" });
    this.place = h("span", { class: "quiet place" });
    this.cover = h("div", { class: "cover", hidden: true });
    viewer.node.append(this.cover);
    this.node = h("section", { class: "stage", "aria-label": t("stage.label") }, this.bar, viewer.node, this.below);
    viewer.ondraw = () => {
      this.zoomText.textContent = viewer.scale >= 1 ? `${number(viewer.scale)}:1` : `${number(viewer.scale * 100)} %`;
    };
    viewer.onpoint = (point) => {
      const inside = point.x >= 0 && point.y >= 0 && point.x < viewer.width && point.y < viewer.height;
      this.place.textContent = inside ? `${Math.floor(point.x)}, ${Math.floor(point.y)}` : "";
    };
  }

  /** What stands in place of a picture. */
  setCover(...nodes) {
    this.cover.hidden = nodes.length === 0;
    fill(this.cover, nodes);
  }

  keys() {
    const { viewer } = this;
    return {
      0: () => viewer.fit(),
      f: () => viewer.fit(),
      1: () => viewer.zoom(1),
      2: () => viewer.zoom(2),
      4: () => viewer.zoom(4),
      8: () => viewer.zoom(8),
      "+": () => viewer.zoom(viewer.scale * 1.5),
      "=": () => viewer.zoom(viewer.scale * 1.5),
      "-": () => viewer.zoom(viewer.scale / 1.5),
    };
  }
}

/** Buttons of which one is pressed. `choose(name)` is called; returns {node, set}. */
export function segments(label, entries, choose) {
  const node = h("div", { class: "segments", role: "group", "aria-label": label });
  const set = (name) => {
    for (const button of node.children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
  };
  for (const [name, text] of entries) {
    node.append(
      h(
        "button",
        {
          type: "button",
          "data-name": name,
          "aria-pressed": "false",
          onclick: () => {
            set(name);
            choose(name);
          },
        },
        text,
      ),
    );
  }
  return { node, set };
}

/** A slider with its name and value: {node, input}. */
export function slider(label, { min, max, step, value, show = number, oninput }) {
  const output = h("output", {}, show(value));
  const input = h("input", {
    type: "range",
    min,
    max,
    step,
    value: String(value),
    oninput: () => {
      output.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", output.textContent);
      oninput(Number(input.value));
    },
  });
  return { node: h("label", { class: "slider" }, h("span", {}, label), input, output), input, output };
}
