// Forms drawn from the description of a task alone: an option that is added to a task appears here by itself.

import { fill, freshId, h } from "./dom.js";
import { offers, resolved, unresolved, uploadButton } from "./filefield.js";
import { waitForFacts } from "./masktools.js";
import { number, t, tOr } from "./texts.js";
import { store } from "./state.js";

const PAINTABLE = /mask|region/;
const RECIPES = ["fast", "balanced", "best", "paper"]; // offered; which of them a task has, its help says
export const CLASSIFIERS = ["torchvision:", "timm:", "hf:"];

/** Whether an option takes a mask that can be painted. */
export const isPaintable = (option) => option.forms.includes("image") && PAINTABLE.test(option.name);

/** The form of a task. `values()` are the options that differ from the default. */
export class TaskForm {
  fields = [];

  /** `given`: {skip: names that are asked elsewhere, mask: () => whether one is painted, values: to begin with, changed}. */
  constructor(task, given = {}) {
    const options = task.options.filter((option) => !given.skip?.includes(option.name));
    this.node = h("div", { class: "form" });
    const plain = options.filter((option) => !option.advanced);
    const folded = options.filter((option) => option.advanced);
    for (const group of groupsOf(plain)) this.#group(this.node, group, plain, given, false);
    if (!folded.length) return;
    const more = h("details", { class: "more" }, h("summary", {}, t("form.advanced")));
    for (const group of groupsOf(folded)) this.#group(more, group, folded, given, true);
    this.node.append(more);
  }

  #group(host, group, options, given, titled) {
    const fields = options.filter((option) => option.group === group).map((option) => new Field(option, given));
    this.fields.push(...fields);
    const nodes = fields.map((field) => field.node);
    if (titled) host.append(h("fieldset", {}, h("legend", {}, tOr(`group.${group}`, group)), nodes));
    else host.append(...nodes);
  }

  /** The options as the server takes them; an Error names the first that cannot be read. */
  values() {
    const found = {};
    for (const field of this.fields) {
      const value = field.read();
      if (value !== undefined) found[field.option.name] = value;
    }
    return found;
  }

  set(name, value) {
    this.fields.find((field) => field.option.name === name)?.write(value);
  }

  /** Draw those fields anew that offer files. */
  refresh() {
    for (const field of this.fields) field.refresh?.();
  }
}

const ORDER = ["Task", "Fit", "Files", "Run"];

/** The groups of some options, the task's own first. */
function groupsOf(options) {
  const rank = (group) => ORDER.indexOf(group) + 1 || ORDER.length + 1;
  return [...new Set(options.map((option) => option.group))].sort((a, b) => rank(a) - rank(b));
}

class Field {
  constructor(option, given) {
    Object.assign(this, { option, given });
    this.id = freshId("option");
    const words = option.forms.find((form) => form.words)?.words;
    this.nullable = option.forms.includes("null");
    this.others = option.forms.filter((form) => form !== "null" && !form.words);
    this.words = words;
    this.input = this.#input();
    this.error = h("p", { class: "field-error", id: `${this.id}-error`, hidden: true });
    this.node = this.#drawn();
    const start = given.values?.[option.name];
    if (start !== undefined) this.write(start);
  }

  #drawn() {
    const { option } = this;
    const name = tOr(`option.${option.name}`, option.name.replaceAll("_", " "));
    const range = rangeOf(option);
    const help = h(
      "p",
      { class: "help", id: `${this.id}-help` },
      option.help,
      range && !saysRange(option) ? h("span", { class: "range" }, ` ${range}`) : null,
    );
    const label = h(
      "label",
      { for: this.id },
      name,
      option.required ? h("span", { class: "required" }, ` ${t("form.required")}`) : null,
    );
    const box = this.input.type === "checkbox";
    this.input.setAttribute("aria-describedby", `${this.id}-help ${this.id}-error`);
    if (option.required) this.input.setAttribute("aria-required", "true");
    return h(
      "div",
      { class: box ? "field check" : "field" },
      box
        ? [this.input, label]
        : [
            label,
            h(
              "div",
              { class: "row tight" },
              this.input,
              this.extra ?? null,
              option.unit ? h("span", { class: "unit" }, option.unit) : null,
            ),
          ],
      help,
      this.error,
    );
  }

  #input() {
    const { option, others, words } = this;
    const common = {
      id: this.id,
      name: option.name,
      onchange: () => this.#changed(),
      autocomplete: "off",
      spellcheck: "false",
    };
    if (others.includes("image")) return this.#image(common);
    if (others.length === 1 && others[0] === "bool" && !this.nullable && !words)
      return h("input", { ...common, type: "checkbox", checked: option.default === true });
    const choices = others[0] === "bool" ? [true, false] : words;
    if (choices && (others.length === 0 || others[0] === "bool")) return this.#select(common, choices);
    const single = others.length === 1 && !words;
    if (single && (others[0] === "int" || others[0] === "float")) return this.#number(common, others[0]);
    return this.#text(common);
  }

  #select(common, choices) {
    const entries = choices.map((word) =>
      h(
        "option",
        { value: JSON.stringify(word), selected: word === this.option.default },
        tOr(`word.${word}`, String(word)),
      ),
    );
    if (this.nullable)
      entries.unshift(h("option", { value: "", selected: this.option.default === null }, t("form.auto")));
    return h("select", common, entries);
  }

  #number(common, kind) {
    const { option } = this;
    const value = option.default === null || option.default === undefined ? "" : String(option.default);
    return h("input", {
      ...common,
      type: "number",
      inputmode: kind === "int" ? "numeric" : "decimal",
      step: kind === "int" ? "1" : "any",
      min: option.minimum,
      max: option.maximum,
      value,
      placeholder: this.nullable ? t("form.auto") : option.metavar,
    });
  }

  #text(common) {
    const { option, others, words } = this;
    const names = others.some((form) => form === "classifier" || form === "classifiers");
    const files = names || others.includes("file");
    const offered = names
      ? [...(store.start.code_classifiers ?? []), ...CLASSIFIERS]
      : (words ?? (option.name === "recipe" ? RECIPES : []));
    if (offered.length || files) {
      const list = offers(`${this.id}-list`, offered, files ? ["other", ...(names ? [] : ["picture"])] : []);
      this.refresh = list.draw;
      this.extra = [list.node, files ? uploadButton((made) => this.#uploaded(made.name)) : null];
      common.list = `${this.id}-list`;
    }
    const usual = asText(option.default);
    // an empty field offers all words, and stands for the default
    const offers_all = offered.length > 0 && usual !== "" && !this.nullable;
    return h("input", {
      ...common,
      type: "text",
      value: offers_all ? "" : usual,
      placeholder: offers_all ? usual : placeholderOf(this),
    });
  }

  #image(common) {
    const select = h("select", common);
    this.extra = uploadButton(async (made) => {
      await waitForFacts(made.id);
      this.#uploaded(made.id);
    });
    this.refresh = () => {
      const before = select.value;
      const files = [...store.files.values()]
        .filter((file) => file.id !== this.given.file && !file.error && file.kind !== "other")
        .reverse();
      fill(
        select,
        h("option", { value: "" }, t(this.option.required ? "form.pick" : "form.none")),
        isPaintable(this.option) && this.given.mask ? h("option", { value: "painted" }, t("form.painted")) : null,
        files.map((file) => h("option", { value: file.id }, file.name)),
      );
      select.value = [...select.options].some((each) => each.value === before) ? before : "";
    };
    this.refresh();
    if (this.option.name === "mask" && this.given.mask) select.value = "painted";
    return select;
  }

  #uploaded(value) {
    this.refresh();
    this.input.value = value;
    this.#changed();
  }

  #changed() {
    this.#complain("");
    this.given.changed?.(this.option.name);
  }

  #complain(line) {
    this.error.textContent = line;
    this.error.hidden = !line;
    this.input.toggleAttribute("aria-invalid", Boolean(line));
  }

  write(value) {
    const { input } = this;
    if (input.type === "checkbox") input.checked = value === true;
    else if (input.tagName === "SELECT" && !this.others.includes("image"))
      input.value = value === null ? "" : JSON.stringify(value);
    else if (value?.painted) input.value = "painted";
    else if (this.others.includes("image") && value?.file) input.value = value.file;
    else if (value?.file) input.value = unresolved(value);
    else input.value = asText(value);
  }

  /** The value; undefined where it is the default. */
  read() {
    try {
      this.#complain("");
      return this.#read();
    } catch (error) {
      this.#complain(error.message);
      this.node.closest("details")?.setAttribute("open", "");
      this.input.focus();
      throw error;
    }
  }

  #read() {
    const { input, option } = this;
    if (input.type === "checkbox") return changedFrom(option, input.checked);
    const text = input.value.trim();
    if (input.validity?.badInput) throw new Error(t("form.notNumber", { name: option.name }));
    if (text === "") {
      if (option.required) throw new Error(t("form.missing", { name: option.name }));
      return changedFrom(option, this.nullable ? null : option.default);
    }
    if (this.others.includes("image"))
      return text === "painted" ? (this.given.mask() ? { painted: true } : undefined) : { file: text };
    if (input.tagName === "SELECT") return changedFrom(option, JSON.parse(text));
    return changedFrom(option, parsed(text, this));
  }
}

function changedFrom(option, value) {
  return value === undefined || JSON.stringify(value) === JSON.stringify(option.default ?? null) ? undefined : value;
}

/** A text as the first form that it fits. */
function parsed(text, { words, others, option }) {
  if (words?.includes(text)) return text;
  for (const form of others) {
    if (form === "bool" && (text === "true" || text === "false")) return text === "true";
    if (form === "int" && /^[+-]?\d+$/.test(text)) return Number(text);
    if (form === "float" && text !== "" && Number.isFinite(Number(text))) return Number(text);
    const kind = form.tuple?.[0] ?? form.tuples;
    if (kind) {
      const parts = text.split(/[\s,;]+/).filter(Boolean);
      const right = form.tuple ? parts.length === form.tuple.length : parts.length > 1 || !others.includes(kind);
      if (right && kind === "str") return parts;
      if (right && parts.every((part) => Number.isFinite(Number(part)))) return parts.map(Number);
    }
    if (form === "classifiers")
      return text
        .split(/[\s,;]+/)
        .filter(Boolean)
        .map(resolved);
    if (form === "file" || form === "classifier") return resolved(text);
    if (form === "str") return text;
  }
  throw new Error(t("form.notOneOf", { name: option.name, value: text }));
}

const asText = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? ""));

function placeholderOf({ option, others, nullable }) {
  const tuple = others.find((form) => form.tuple);
  if (option.metavar) return option.metavar;
  if (tuple) return tuple.tuple.map(() => "0").join(", ");
  return nullable ? t("form.auto") : "";
}

/** Whether the help of an option has its range already. */
const saysRange = ({ help, minimum, maximum }) => help.includes(`${minimum} to ${maximum}`);

function rangeOf({ minimum, maximum, exclusive }) {
  const given = (value) => value !== null && value !== undefined;
  if (given(minimum) && given(maximum))
    return t(exclusive ? "range.aboveTo" : "range.fromTo", { a: number(minimum), b: number(maximum) });
  if (given(minimum)) return t(exclusive ? "range.above" : "range.least", { a: number(minimum) });
  return given(maximum) ? t("range.most", { b: number(maximum) }) : "";
}
