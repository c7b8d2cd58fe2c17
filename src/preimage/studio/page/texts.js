// All texts of the page come from one file, so that another language is one more file.

let texts = {};

/** Read the texts; once, before anything is drawn. */
export async function loadTexts() {
  const answer = await fetch("/page/texts.en.json");
  texts = await answer.json();
}

/** The text of a key, with {names} replaced; an unknown key shows itself. */
export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** The text of a key that may be missing, or another one. */
export function tOr(key, other) {
  return texts[key] ?? other;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** A number for people: three digits, or all of a whole one. */
export function number(value) {
  if (value === null || value === undefined) return "";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return Number.isInteger(value) ? whole.format(value) : short.format(value);
}

/** Bytes in the unit that suits. */
export function bytes(count) {
  for (const unit of ["B", "kB", "MB"]) {
    if (count < 1000) return `${number(Math.round(count * 10) / 10)} ${unit}`;
    count /= 1000;
  }
  return `${number(count)} GB`;
}

/** A time span: 12 s, 3 min 20 s, 2 h 5 min. */
export function seconds(span) {
  const all = Math.max(0, Math.round(span));
  if (all < 60) return t("time.seconds", { s: all });
  if (all < 3600) return t("time.minutes", { m: Math.floor(all / 60), s: all % 60 });
  return t("time.hours", { h: Math.floor(all / 3600), m: Math.floor((all % 3600) / 60) });
}

/** When something was: a date of the server (seconds since 1970, or ISO) in the reader's form. */
export function moment(when) {
  if (when === null || when === undefined) return "";
  const date = new Date(typeof when === "number" ? when * 1000 : when);
  return date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
