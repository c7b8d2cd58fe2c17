// Keys of the view that is open. Letters do nothing while one writes; Tab over the picture shows the original while it is
// held, and moves on as everywhere when it is only pressed.

let bindings = {};
let viewer = null;
let held = false;
let down = false; // Tab was pressed over the picture, and not on the way to it

/** The keys of a view and the viewer that Tab, arrows and Space are for. */
export function bind(keys, shown) {
  bindings = keys;
  viewer = shown;
}

/** Listen; once. */
export function listenToKeys() {
  addEventListener("keydown", pressed);
  addEventListener("keyup", released);
  addEventListener("blur", () => viewer?.holdOriginal(false));
}

function pressed(event) {
  if (document.querySelector("dialog[open]")) return;
  const overPicture = viewer && event.target === viewer.canvas;
  if (overPicture && event.key === "Tab" && !event.ctrlKey && !event.altKey) return tab(event);
  if (overPicture && !event.ctrlKey && !event.metaKey && overCanvas(event)) return event.preventDefault();
  if (writes(event.target) && !event.ctrlKey && !event.metaKey) return undefined;
  if (writesText(event.target)) return undefined;
  const name = `${event.ctrlKey || event.metaKey ? "ctrl+" : ""}${event.shiftKey && (event.ctrlKey || event.metaKey) ? "shift+" : ""}${event.key.toLowerCase()}`;
  const action = bindings[name];
  if (!action || event.altKey) return undefined;
  event.preventDefault();
  return action();
}

function overCanvas(event) {
  if (event.key === " " && !viewer.tool) return false;
  if (viewer.tool?.key?.(event)) return true;
  const by = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (by && !event.altKey) {
    const far = (event.shiftKey ? 0.5 : 0.1) * viewer.canvas.width;
    viewer.pan(by[0] * far, by[1] * far);
    return true;
  }
  return false;
}

function tab(event) {
  event.preventDefault();
  down = true;
  if (event.repeat) {
    held = true;
    viewer.holdOriginal(true);
  }
}

function released(event) {
  if (event.key !== "Tab" || !viewer) return;
  viewer.holdOriginal(false);
  if (down && !held && event.target === viewer.canvas) moveOn(event.shiftKey ? -1 : 1);
  held = down = false;
}

/** Where Tab would have gone. */
function moveOn(by) {
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")];
  const reachable = all.filter((each) => each.tabIndex >= 0 && !each.disabled && each.getClientRects().length > 0);
  const at = reachable.indexOf(viewer.canvas);
  reachable[(at + by + reachable.length) % reachable.length]?.focus();
}

const writes = (node) =>
  node.matches?.("input:not([type=checkbox]):not([type=radio]), select, textarea, [role=slider]");
const writesText = (node) => node.matches?.("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea");
