// What the server has, kept current by its event stream. The page has no state of its own that a reload would lose.

import { api } from "./api.js";

class Store extends EventTarget {
  start = null;
  files = new Map();
  jobs = new Map();
  runs = new Map();
  online = true;
  #fetching = []; // of each fetch under way the names of what the stream has told meanwhile, which is newer

  /** Fetch everything anew: at the start, and whenever the stream was interrupted. */
  async refresh() {
    const told = new Set();
    this.#fetching.push(told);
    try {
      const [files, jobs, runs] = await Promise.all([api.files(), api.jobs(), this.start?.root ? api.runs() : []]);
      this.#take("files", byId(files.files ?? files), told);
      this.#take("jobs", byId(jobs.jobs ?? jobs), told);
      this.#take("runs", byId(runs.runs ?? runs), told);
    } finally {
      this.#fetching = this.#fetching.filter((each) => each !== told);
    }
  }

  #take(kind, fetched, told) {
    const before = this[kind];
    for (const name of told) {
      const [its, id] = name.split(" ");
      if (its !== kind) continue;
      if (before.has(id)) fetched.set(id, before.get(id));
      else fetched.delete(id);
    }
    this[kind] = fetched;
    this.tell(kind);
  }

  #told(kind, id) {
    for (const each of this.#fetching) each.add(`${kind} ${id}`);
  }

  put(kind, item) {
    const known = this[kind].get(item.id);
    this[kind].set(item.id, { ...known, ...item });
    this.#told(kind, item.id);
    this.tell(kind, item.id);
  }

  /** What was just made, as its request was answered: the stream may have told more of it already. */
  add(kind, item) {
    this.put(kind, { ...item, ...this[kind].get(item.id) });
  }

  drop(kind, id) {
    this[kind].delete(id);
    this.#told(kind, id);
    this.tell(kind, id);
  }

  /** Tell those that watch "files", "jobs", "runs" or "online". */
  tell(kind, id = null) {
    this.dispatchEvent(new CustomEvent(kind, { detail: id }));
  }

  /** Watch a kind until the signal is aborted; the id is null when all may have changed. */
  watch(kind, heard, signal) {
    this.addEventListener(kind, (event) => heard(event.detail), { signal });
  }

  task(name) {
    return this.start.tasks.find((task) => task.name === name);
  }

  setOnline(online) {
    if (this.online === online) return;
    this.online = online;
    this.tell("online");
  }
}

const byId = (items) => new Map(items.map((item) => [item.id, item]));

export const store = new Store();

const HIDDEN_FOR = 20_000; // a browser allows six connections to one server: tabs that nobody sees give theirs back
let source = null;
let pending = 0;

/** Listen to the server; reconnects by itself, and fetches everything anew then. */
export function listen() {
  connect();
  document.addEventListener("visibilitychange", () => {
    clearTimeout(pending);
    if (document.hidden) pending = setTimeout(disconnect, HIDDEN_FOR);
    else if (!source) connect();
  });
}

function disconnect() {
  source?.close();
  source = null;
}

function connect() {
  disconnect();
  const mine = new EventSource("/api/events");
  source = mine;
  const on = (name, heard) => mine.addEventListener(name, (event) => heard(event.data ? JSON.parse(event.data) : {}));
  mine.onopen = async () => {
    try {
      await store.refresh();
      store.setOnline(true);
    } catch {
      store.setOnline(false);
    }
  };
  mine.onerror = () => {
    store.setOnline(false);
    if (mine.readyState !== EventSource.CLOSED) return;
    disconnect();
    pending = setTimeout(connect, 2000);
  };
  on("job", (job) => store.put("jobs", job));
  on("job-gone", ({ id }) => store.drop("jobs", id));
  on("file", (file) => store.put("files", file));
  on("file-gone", ({ id }) => store.drop("files", id));
  on("folder-gone", ({ id }) => store.drop("runs", id));
  on("folder", (run) => store.put("runs", run));
  on("bye", () => store.setOnline(false));
}
