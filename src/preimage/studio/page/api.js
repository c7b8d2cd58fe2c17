// What the server offers, one function each. Every failure is an ApiError with one line for people.

/** A refusal of the server, or its silence. */
export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

async function ask(method, path, body, headers = {}) {
  const all = method === "GET" ? headers : { "X-Preimage": "1", ...headers };
  let answer;
  try {
    answer = await fetch(path, { method, body, headers: all });
  } catch {
    throw new ApiError("", "unreachable", 0);
  }
  const text = await answer.text();
  let data = null;
  try {
    data = text ? JSON.parse(text) : null;
  } catch {
    data = { error: text.slice(0, 300) };
  }
  if (!answer.ok) throw new ApiError(data?.error ?? answer.statusText, data?.code ?? "", answer.status);
  return data;
}

const get = (path) => ask("GET", path);
const remove = (path) => ask("DELETE", path);
const post = (path, data = {}) => ask("POST", path, JSON.stringify(data), { "Content-Type": "application/json" });

/** A query string of those values that are given. */
export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export const api = {
  start: () => get("/api/start"),
  files: () => get("/api/files"),
  file: (id) => get(`/api/files/${id}`),
  deleteFile: (id) => remove(`/api/files/${id}`),
  fileView: (id, values) => `/api/files/${id}/view${query(values)}`,
  fileRaw: (id) => `/api/files/${id}/raw`,
  thumbnail: (id) => `/api/files/${id}/thumbnail`,
  mask: (of, blob) => ask("POST", `/api/masks${query({ of })}`, blob, { "Content-Type": "image/png" }),
  jobs: () => get("/api/jobs"),
  job: (id) => get(`/api/jobs/${id}`),
  createJob: (job) => post("/api/jobs", job),
  deleteJob: (id) => remove(`/api/jobs/${id}`),
  act: (id, action) => post(`/api/jobs/${id}/${action}`),
  curve: (id) => get(`/api/jobs/${id}/curve`),
  preview: (id, n) => `/api/jobs/${id}/preview/${n}`,
  jobView: (id, what, values) => `/api/jobs/${id}/view/${encodeURIComponent(what)}${query(values)}`,
  histogram: (id, strength) => get(`/api/jobs/${id}/histogram${query({ strength })}`),
  download: (id, what, strength) => `/api/jobs/${id}/download/${encodeURIComponent(what)}${query({ strength })}`,
  classify: (classifier, file, page, options = {}) => post("/api/classify", { classifier, file, page, ...options }),
  folders: (path) => get(`/api/folders${query({ path })}`),
  startFolder: (run) => post("/api/folders", run),
  runs: () => get("/api/folders/runs"),
  run: (id) => get(`/api/folders/runs/${id}`),
  deleteRun: (id) => remove(`/api/folders/runs/${id}`),
  actRun: (id, action) => post(`/api/folders/runs/${id}/${action}`),
  runView: (id, name, values) => `/api/folders/runs/${id}/view/${encodeURIComponent(name)}${query(values)}`,
  shutdown: () => post("/api/shutdown"),
};

/** Upload a file as it is; `progress(share)` is called on the way. */
export function upload(file, progress = () => {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/files");
    request.setRequestHeader("X-Preimage", "1");
    request.setRequestHeader("X-Name", encodeURIComponent(file.name || "pasted.png"));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      let data = null;
      try {
        data = JSON.parse(request.responseText);
      } catch {
        data = { error: request.responseText.slice(0, 300) };
      }
      if (request.status < 300) resolve(data);
      else reject(new ApiError(data?.error ?? request.statusText, data?.code ?? "", request.status));
    };
    request.onerror = () => reject(new ApiError("", "unreachable", 0));
    request.send(file);
  });
}
