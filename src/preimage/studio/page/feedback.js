// What is said to people: a line for screen readers, an error, a question.

import { ApiError } from "./api.js";
import { fill, h } from "./dom.js";
import { t } from "./texts.js";

const spoken = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
const alerts = h("div", { class: "alerts", role: "alert" });

/** The nodes that main puts into the page once. */
export const liveRegions = [spoken, alerts];

/** Tell screen readers. */
export function say(text) {
  fill(spoken, text);
}

/** Show an error until it is closed. */
export function trouble(error) {
  const line = wordsOf(error);
  if ([...alerts.children].some((shown) => shown.dataset.line === line)) return;
  const shown = h(
    "div",
    { class: "alert", "data-line": line },
    h("p", {}, line),
    h("button", { type: "button", class: "text-button", onclick: () => shown.remove() }, t("close")),
  );
  alerts.append(shown);
  if (alerts.children.length > 3) alerts.firstChild.remove();
}

/** An error in one line. */
export function wordsOf(error) {
  if (error instanceof ApiError) {
    if (error.code === "unreachable") return t("error.unreachable");
    if (error.status === 401 || (error.status === 403 && !error.message)) return t("error.token");
    return error.message || t("error.unknown", { status: error.status });
  }
  return error?.message || String(error);
}

/** Ask before something that cannot be undone. */
export function confirmed(question, action) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      {
        class: "dialog",
        onclose: () => {
          dialog.remove();
          resolve(dialog.returnValue === "yes");
        },
      },
      h(
        "form",
        { method: "dialog" },
        h("p", {}, question),
        h(
          "div",
          { class: "row end" },
          h("button", { value: "no", class: "button", autofocus: true }, t("cancel")),
          h("button", { value: "yes", class: "button danger" }, action),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Hand a blob to the browser's downloads. */
export function saveBlob(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Copy a text, and say so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say(t("copied"));
    return true;
  } catch {
    return false;
  }
}
