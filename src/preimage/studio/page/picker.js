// Choosing a picture: dropped, pasted, from a dialog, or one that is there already.

import { api, upload } from "./api.js";
import { fill, h, icon, iconButton } from "./dom.js";
import { confirmed, say, trouble } from "./feedback.js";
import { thumbnail } from "./picture.js";
import { store } from "./state.js";
import { bytes, number, t } from "./texts.js";

let wanted = null; // (file) => void: what the open view does with a picture
let chooser = null;

/** The view that is open takes pictures. */
export function takePictures(taken) {
  wanted = taken;
}

/** Open the dialog of the browser. */
export function choosePicture() {
  chooser.click();
}

/** Listen for drops and pastes anywhere in the page; once. */
export function listenForPictures(body) {
  chooser = h("input", {
    type: "file",
    class: "visually-hidden",
    tabindex: "-1",
    "aria-hidden": "true",
    id: "chooser",
    onchange: () => {
      take([...chooser.files]);
      chooser.value = "";
    },
  });
  body.append(chooser);
  body.addEventListener("dragover", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    body.classList.add("dragging");
  });
  body.addEventListener("dragleave", (event) => event.relatedTarget || body.classList.remove("dragging"));
  body.addEventListener("drop", (event) => {
    event.preventDefault();
    body.classList.remove("dragging");
    take([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) take(files);
  });
}

async function take(files) {
  const bar = h("div", { class: "upload", role: "status" });
  document.body.append(bar);
  try {
    let last = null;
    for (const file of files) {
      if (store.start.limits?.bytes && file.size > store.start.limits.bytes)
        throw new Error(t("upload.tooLarge", { name: file.name, most: bytes(store.start.limits.bytes) }));
      last = await upload(file, (share) =>
        fill(bar, t("upload.progress", { name: file.name, percent: number(Math.round(100 * share)) })),
      );
      store.add("files", last);
    }
    if (!last) return;
    say(t("upload.done", { name: last.name }));
    wanted?.(last);
  } catch (error) {
    trouble(error);
  } finally {
    bar.remove();
  }
}

/** What is seen before there is a picture. */
export function dropZone() {
  return h(
    "button",
    { type: "button", class: "drop-zone", onclick: choosePicture },
    icon("image"),
    h("strong", {}, t("drop.title")),
    h("span", { class: "quiet" }, t("drop.how")),
    h("span", { class: "quiet" }, t("drop.kinds")),
  );
}

/** The pictures that the server has, newest first. */
export function recent(signal, open) {
  const node = h("section", { class: "recent", "aria-label": t("recent.title") });
  const draw = () => {
    const files = [...store.files.values()].filter((file) => (file.kind ?? "picture") === "picture").reverse();
    node.hidden = !files.length;
    fill(
      node,
      h("h2", {}, t("recent.title")),
      h(
        "ul",
        { class: "tiles" },
        files.slice(0, 24).map((file) =>
          h(
            "li",
            {},
            h(
              "button",
              { type: "button", class: "tile", onclick: () => open(file) },
              thumbnail(api.thumbnail(file.id)),
              h("span", { class: "name" }, file.name),
            ),
            iconButton("trash", t("recent.delete", { name: file.name }), () => removeFile(file)),
          ),
        ),
      ),
    );
  };
  store.watch("files", draw, signal);
  draw();
  return node;
}

async function removeFile(file) {
  if (!(await confirmed(t("recent.sure", { name: file.name }), t("delete")))) return;
  try {
    await api.deleteFile(file.id);
    store.drop("files", file.id);
  } catch (error) {
    trouble(error);
  }
}
