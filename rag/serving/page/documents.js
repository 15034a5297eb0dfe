// The list of documents, and uploads.

import { byId, closeSidebar, createElement, formatCount, showStatus } from "./dom.js";
import { askForKey, authorizationHeaders, encodeQuery, request, requestJson, resolveUrl, ServerError } from "./server.js";
import { closeSource, currentUri, openSource } from "./source_panel.js";

const POLL_MILLISECONDS = 400; // between requests for the progress of a job
const NOTE_MILLISECONDS = 4000; // that the note of a successful upload stays
const UPLOAD_SCHEME = "upload:";
const PART_SEPARATOR = "!/";

const uploadName = (uri) => decodeURIComponent(uri.slice(`${UPLOAD_SCHEME}///`.length));

function createListItem(info) {
  const name = info.title || info.uri;
  const openButton = createElement("button", { type: "button", className: "open", textContent: name, title: info.uri });
  openButton.addEventListener("click", () => {
    closeSidebar();
    openSource({ uri: info.uri, title: info.title }, openButton);
  });
  const deleteButton = createElement("button", { type: "button", className: "icon", textContent: "✕" });
  deleteButton.setAttribute("aria-label", `Delete the document ${name}`);
  deleteButton.addEventListener("click", () => deleteDocument(info.uri, name));
  return createElement("li", {}, openButton, deleteButton);
}

export async function loadDocuments() {
  const { documents, total, failures } = await requestJson("/documents?limit=1000");
  byId("document-count").textContent = total ? total.toLocaleString() : "";
  byId("documents").replaceChildren(...documents.map(createListItem));
  if (total > documents.length) {
    const text = `and ${(total - documents.length).toLocaleString()} more`;
    byId("documents").append(createElement("li", { className: "note quiet", textContent: text }));
  }
  byId("failures").hidden = !failures.length;
  byId("failures").querySelector("summary").textContent = `${formatCount(failures.length, "file")} could not be read`;
  byId("failures").querySelector("ul").replaceChildren(...failures.map(
    (failure) => createElement("li", { textContent: `${failure.uri}: ${failure.error}` })));
  const empty = byId("empty");
  if (empty) {
    empty.textContent = total
      ? `Ask a question about your ${formatCount(total, "document")}.`
      : "No documents yet. Upload some, or run: rag ingest FOLDER";
  }
}

async function deleteDocument(documentUri, name) {
  const uri = documentUri.startsWith(UPLOAD_SCHEME) ? documentUri.split(PART_SEPARATOR)[0] : documentUri;
  const target = uri === documentUri ? `“${name}”` : `“${uploadName(uri)}” and all files in it`;
  if (!confirm(`Delete ${target} from the index?`)) return;
  try {
    await request(`/documents?${encodeQuery({ uri })}`, { method: "DELETE" });
    if (currentUri()?.startsWith(uri)) closeSource();
  } catch (error) {
    showStatus(error.message, true);
  }
  await loadDocuments();
  (byId("documents").querySelector("button") || byId("add-files")).focus();
}

function sendFiles(files, reportProgress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("files", file);
    const upload = new XMLHttpRequest(); // fetch does not report the progress of an upload
    upload.open("POST", resolveUrl("/documents"));
    for (const [name, value] of Object.entries(authorizationHeaders())) upload.setRequestHeader(name, value);
    upload.upload.addEventListener("progress", (event) => reportProgress(event.loaded / event.total));
    upload.addEventListener("error", () => reject(new Error("The connection was lost.")));
    upload.addEventListener("load", () => {
      let body = null;
      try { body = JSON.parse(upload.responseText); } catch { /* not a response of this server */ }
      if (upload.status === 202) resolve(body);
      else if (upload.status === 401) askForKey().then(() => sendFiles(files, reportProgress)).then(resolve, reject);
      else reject(new ServerError(upload.status, body?.error));
    });
    upload.send(form);
  });
}

async function awaitJob(startedJob, reportProgress) {
  let job = startedJob;
  while (job.state === "waiting" || job.state === "running") {
    reportProgress(job);
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
    job = await requestJson(`/jobs/${job.id}`);
  }
  if (job.state !== "done") throw new Error(job.error || `The upload ${job.state === "stopped" ? "was stopped" : "failed"}.`);
  if (job.failed.length) {
    const documentCount = job.added + job.updated + job.unchanged;
    const problems = job.failed.map((failure) => `${uploadName(failure.uri)}: ${failure.error}`);
    throw new Error([...(documentCount ? [`${formatCount(documentCount, "document")} read`] : []), ...problems].join("; "));
  }
  return job;
}

export async function uploadFiles(files) {
  if (!files.length) return;
  const name = files.length === 1 ? files[0].name : formatCount(files.length, "file");
  const progress = createElement("progress", { max: 1, value: 0 });
  progress.setAttribute("aria-label", `Progress of ${name}`);
  const message = createElement("span", { textContent: `Uploading ${name}` });
  const note = createElement("li", { className: "note" }, message, progress);
  byId("jobs").append(note);
  try {
    const startedJob = await sendFiles(files, (share) => { progress.value = share; });
    const job = await awaitJob(startedJob, ({ seen, total }) => {
      message.textContent = `Processing ${name}`;
      if (seen) progress.value = seen / total;
      else progress.removeAttribute("value");
    });
    const replacement = job.updated ? ", replaced the earlier version" : "";
    message.textContent = `${name}: ${formatCount(job.chunks, "passage")}${replacement}`;
    progress.value = 1;
    setTimeout(() => note.remove(), NOTE_MILLISECONDS);
  } catch (error) {
    progress.remove();
    message.textContent = error.message.startsWith(name) ? error.message : `${name}: ${error.message}`;
    message.className = "problem";
    const dismissButton = createElement("button", { type: "button", className: "icon", textContent: "✕" });
    dismissButton.setAttribute("aria-label", "Dismiss this message");
    dismissButton.addEventListener("click", () => note.remove());
    note.append(" ", dismissButton);
  }
  await loadDocuments();
}
