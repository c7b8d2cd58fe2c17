// A field for a text or an uploaded file: a classifier, a kernel, thresholds. A file is named by its name, and sent by its id.

import { fill, h } from "./dom.js";
import { trouble } from "./feedback.js";
import { store } from "./state.js";
import { t } from "./texts.js";
import { upload } from "./api.js";

/** What the server takes for a text: an uploaded file of that name, also behind the name of its backbone, or the text itself. */
export function resolved(text) {
  const whole = fileNamed(text);
  if (whole) return { file: whole.id };
  const at = text.lastIndexOf("@");
  const weights = at > 0 ? fileNamed(text.slice(at + 1)) : null;
  return weights ? { file: weights.id, backbone: text.slice(0, at) } : text;
}

const fileNamed = (name) => [...store.files.values()].reverse().find((file) => file.name === name);

/** The text of what was sent. */
export function unresolved(value) {
  if (!value?.file) return value;
  const name = store.files.get(value.file)?.name ?? "";
  return value.backbone ? `${value.backbone}@${name}` : name;
}

/** A button that uploads a file and calls `taken(file)`. */
export function uploadButton(taken, accept = "") {
  const chooser = h("input", {
    type: "file",
    accept,
    class: "visually-hidden",
    tabindex: "-1",
    "aria-hidden": "true",
    onchange: async () => {
      const [chosen] = chooser.files;
      chooser.value = "";
      if (!chosen) return;
      try {
        const made = await upload(chosen);
        store.add("files", made);
        await taken(made);
      } catch (error) {
        trouble(error);
      }
    },
  });
  return [
    h("button", { type: "button", class: "button small", onclick: () => chooser.click() }, t("form.choose")),
    chooser,
  ];
}

/** A datalist of words and of the names of uploaded files of a kind. */
export function offers(id, words, kinds) {
  const node = h("datalist", { id });
  const draw = () => {
    const names = [...store.files.values()].filter((file) => kinds.includes(file.kind)).map((file) => file.name);
    fill(
      node,
      [...new Set([...words, ...names])].map((word) => h("option", { value: word })),
    );
  };
  draw();
  return { node, draw };
}
