// The page: its bar, its views, and which of them the address names.

import { api } from "./api.js";
import { fill, h, iconButton } from "./dom.js";
import { Explain } from "./explain.js";
import { confirmed, liveRegions, trouble, wordsOf } from "./feedback.js";
import { FolderRun, Folders } from "./folders.js";
import { JobView, isOver } from "./job.js";
import { listenToKeys } from "./keys.js";
import { listenForPictures } from "./picker.js";
import { Queue } from "./queue.js";
import { Restore } from "./restore.js";
import { listen, store } from "./state.js";
import { loadTexts, t } from "./texts.js";
import { applyTheme, themeButton } from "./theme.js";

const VIEWS = ["restore", "explain", "folders", "queue"];
const main = h("main", { id: "main", tabindex: "-1" });
const links = new Map();
let open = null; // what ends the view that is open

function draw() {
  for (const name of VIEWS) links.set(name, h("a", { href: `#/${name}` }, t(`nav.${name}`)));
  const counter = h("span", { class: "counter", hidden: true });
  links.get("queue").append(counter);
  const offline = h("p", { class: "offline", role: "status", hidden: true }, t("offline"));
  store.watch("online", () => (offline.hidden = store.online));
  store.watch("jobs", () => {
    const going = [...store.jobs.values()].filter((job) => !isOver(job)).length;
    counter.hidden = !going;
    counter.textContent = String(going);
    counter.setAttribute("aria-label", t("nav.going", { n: going }));
  });
  const machine = [
    store.start.device === "auto" ? null : store.start.device,
    t(store.start.threads === 1 ? "machine.thread" : "machine.threads", { n: store.start.threads }),
  ]
    .filter(Boolean)
    .join(" · ");
  document.body.append(
    h(
      "a",
      {
        class: "skip",
        href: "#main",
        onclick: (event) => {
          event.preventDefault();
          main.focus();
        },
      },
      t("skip"),
    ),
    h(
      "header",
      { class: "top" },
      h(
        "a",
        { class: "brand", href: "#/restore" },
        h("img", { src: "/page/icon.svg", alt: "", width: "22", height: "22" }),
        h("span", {}, t("title")),
      ),
      h("nav", { "aria-label": t("nav.label") }, [...links.values()]),
      h("span", { class: "machine quiet" }, machine, " · ", store.start.version),
      h(
        "div",
        { class: "group" },
        themeButton(),
        iconButton("help", t("help.open"), help),
        iconButton("power", t("stop.open"), stop),
      ),
    ),
    offline,
    main,
    ...liveRegions,
  );
}

function route() {
  const [name, id, further] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  open?.abort();
  open = new AbortController();
  const { signal } = open;
  const view = viewOf(name, id, further, signal);
  const at = name === "job" ? "queue" : VIEWS.includes(name) ? name : "restore";
  for (const [each, link] of links) {
    if (each === at) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${t(`nav.${at}`)} · ${t("title")}`;
  fill(main, view.node);
}

function viewOf(name, id, further, signal) {
  if (name === "queue") return new Queue(signal);
  if (name === "job" && id) return new JobView(id, signal);
  if (name === "folders") return id ? new FolderRun(id, signal) : new Folders(signal);
  const view = name === "explain" ? new Explain(signal) : new Restore(signal);
  const file = store.files.get(id);
  if (file) view.show(file, store.jobs.get(further));
  else view.empty();
  return view;
}

function help() {
  const rows = ["zoom", "fit", "one", "pan", "original", "wipe", "brush", "size", "undo", "pen", "start"].map(
    (name) => [
      h(
        "dt",
        {},
        t(`keys.${name}`)
          .split("|")
          .map((key, k) => [k ? " " : null, h("kbd", {}, key)]),
      ),
      h("dd", {}, t(`keys.${name}.does`)),
    ],
  );
  const dialog = h(
    "dialog",
    { class: "dialog wide", "aria-labelledby": "help-title", onclose: () => dialog.remove() },
    h("h1", { id: "help-title" }, t("help.title")),
    h("dl", { class: "keys" }, rows),
    h(
      "form",
      { method: "dialog", class: "row end" },
      h("button", { class: "button primary", autofocus: true }, t("close")),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
}

async function stop() {
  if (!(await confirmed(t("stop.sure"), t("stop.do")))) return;
  try {
    await api.shutdown();
    open?.abort();
    fill(main, h("div", { class: "page" }, h("h1", {}, t("stop.done")), h("p", {}, t("stop.after"))));
  } catch (error) {
    trouble(error);
  }
}

async function begin() {
  applyTheme();
  await loadTexts();
  try {
    store.start = await api.start();
    await store.refresh();
  } catch (error) {
    document.body.append(
      h(
        "main",
        { class: "page" },
        h("h1", {}, t("title")),
        h("p", { class: "field-error" }, wordsOf(error)),
        h("p", {}, t("error.again")),
      ),
    );
    return;
  }
  draw();
  store.tell("jobs");
  listenForPictures(document.body);
  listenToKeys();
  addEventListener("hashchange", route);
  route();
  listen();
  document.documentElement.dataset.ready = "true";
}

begin();
