// The documents: the list in the sidebar, the table of the documents view, and uploads.

import { byId, closeSidebar, createElement, createIconButton, showStatus } from "./dom.js";
import { isSelected, toggleDocument } from "./filters.js";
import { formatNumber, formatTime, loadTexts, t, tCount } from "./i18n.js";
import { askForKey, authorizationHeaders, encodeQuery, request, requestJson, resolveUrl, ServerError } from "./server.js";
import { closeSource, currentUri, openSource } from "./source_panel.js";

const POLL_MILLISECONDS = 400; // between requests for the progress of a job
const NOTE_MILLISECONDS = 4000; // that the note of a successful upload stays
const UPLOAD_SCHEME = "upload:";
const PART_SEPARATOR = "!/";

const uploadName = (uri) => decodeURIComponent(uri.slice(`${UPLOAD_SCHEME}///`.length));

let listed = { documents: [], failures: [] };

export const documentUris = () => listed.documents.map((info) => info.uri);

const nameOf = (info) => info.title || decodeURIComponent(info.uri.split("/").pop());

function showPath(uri) {
  const path = uri.replace(/^(file|upload):\/\/\//, "");
  try {
    return decodeURIComponent(path);
  } catch { // a percent sign that is no escape
    return path;
  }
}

function createDeleteButton(info) {
  const button = createElement("button", { type: "button", className: "icon", textContent: "✕" });
  button.setAttribute("aria-label", t("delete_document", { name: nameOf(info) }));
  button.addEventListener("click", () => deleteDocument(info.uri, nameOf(info)));
  return button;
}

function createListItem(info) {
  const name = info.title || info.uri;
  const openButton = createElement("button", { type: "button", className: "open", textContent: name, title: showPath(info.uri) });
  openButton.addEventListener("click", () => {
    closeSidebar();
    openSource({ uri: info.uri, title: info.title }, openButton);
  });
  return createElement("li", {}, openButton, createDeleteButton(info));
}

export async function loadDocuments() {
  const { documents, total, failures } = await requestJson("/documents?limit=1000");
  listed = { documents, failures };
  byId("document-count").textContent = total ? formatNumber(total) : "";
  byId("documents").replaceChildren(...documents.map(createListItem));
  if (total > documents.length) {
    const text = t("and_more", { count: formatNumber(total - documents.length) });
    byId("documents").append(createElement("li", { className: "note quiet", textContent: text }));
  }
  byId("failures").hidden = !failures.length;
  byId("failures").querySelector("summary").textContent = tCount("failures", failures.length);
  byId("failures").querySelector("ul").replaceChildren(...failures.map(
    (failure) => createElement("li", { textContent: `${showPath(failure.uri)}: ${failure.error}` })));
  const empty = byId("empty");
  if (empty) empty.textContent = total ? tCount("ask_about", total) : t("no_documents_yet");
  showTable();
}

// -- the documents view ----------------------------------------------------------------------------

const createRow = (...cells) => createElement("tr", {}, ...cells.map((cell) => createElement("td", {}, cell)));

function showTable() {
  const filter = byId("document-filter").value.trim().toLowerCase();
  const fits = (...texts) => texts.join(" ").toLowerCase().includes(filter);
  const failures = listed.failures.filter((failure) => fits(showPath(failure.uri), failure.error));
  const documents = listed.documents.filter((info) => fits(nameOf(info), showPath(info.uri), info.mime));
  byId("document-rows").replaceChildren(...failures.map(createFailureRow), ...documents.map(createDocumentRow));
  byId("document-table").hidden = !(failures.length + documents.length);
}

function createFailureRow(failure) {
  const state = createElement("span", { className: "flag", textContent: t("failed") });
  const reason = createElement("span", { className: "problem", textContent: ` ${failure.error}` });
  const row = createRow("", createElement("span", { textContent: showPath(failure.uri) }), "", "", "", createElement("span", {}, state, reason),
    createDeleteButton({ uri: failure.uri, title: showPath(failure.uri) }));
  row.className = "failure";
  return row;
}

function createDocumentRow(info) {
  const box = createElement("input", { type: "checkbox", checked: isSelected(info.uri) });
  box.setAttribute("aria-label", t("select", { name: nameOf(info) }));
  box.addEventListener("change", () => toggleDocument(info.uri, box.checked));
  const openButton = createElement("button", { type: "button", className: "link", textContent: nameOf(info) });
  openButton.addEventListener("click", () => openSource({ uri: info.uri, title: info.title }, openButton));
  const path = createElement("span", { className: "quiet path", textContent: showPath(info.uri) });
  const detailsButton = createIconButton("info", t("metadata_of", { name: nameOf(info) }));
  detailsButton.addEventListener("click", () => showMetadata(info));
  return createRow(box, createElement("span", {}, openButton, path), info.mime, formatNumber(info.chunks),
    formatTime(info.written), t("ready"),
    createElement("span", { className: "row-actions" }, detailsButton, createDeleteButton(info)));
}

async function showMetadata(info) {
  const facts = await requestJson(`/documents/info?${encodeQuery({ uri: info.uri })}`);
  const fields = { type: facts.mime, ...facts.metadata };
  const values = Object.entries(fields).flatMap(([name, value]) => [
    createElement("dt", { textContent: name === "type" ? t("type") : name }),
    createElement("dd", { textContent: [value].flat().join(", ") })]);
  const headings = facts.headings.length
    ? [createElement("h3", { textContent: t("headings") }),
      createElement("ul", {}, ...facts.headings.map((heading) => createElement("li", { textContent: heading })))]
    : [];
  byId("metadata-title").textContent = nameOf(info);
  byId("metadata-body").replaceChildren(createElement("p", { className: "quiet", textContent: showPath(info.uri) }),
    createElement("dl", {}, ...values), ...headings);
  byId("metadata-dialog").showModal();
}

async function ingestAgain() {
  byId("ingest-again").disabled = true;
  showStatus(t("indexing"));
  try {
    const job = await awaitJob(await requestJson("/documents/ingest", { method: "POST" }), () => {});
    showStatus(t("indexed", { added: job.added, updated: job.updated, unchanged: job.unchanged }));
  } catch (error) {
    showStatus(error.message, true);
  } finally {
    byId("ingest-again").disabled = false;
    await loadDocuments();
  }
}

export function listenToDocuments() {
  for (const id of ["add-files", "add-files-2"]) byId(id).addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", () => {
    uploadFiles([...byId("files").files]);
    byId("files").value = "";
  });
  byId("ingest-again").addEventListener("click", ingestAgain);
  byId("document-filter").addEventListener("input", showTable);
  const setDropping = (isDropping) => document.body.classList.toggle("dropping", isDropping);
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    setDropping(true);
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) setDropping(false); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    setDropping(false);
    uploadFiles([...event.dataTransfer.files]);
  });
}

async function deleteDocument(documentUri, name) {
  const uri = documentUri.startsWith(UPLOAD_SCHEME) ? documentUri.split(PART_SEPARATOR)[0] : documentUri;
  const target = uri === documentUri ? t("quoted", { name }) : t("and_all_files", { name: uploadName(uri) });
  if (!confirm(t("confirm_delete_document", { name: target }))) return;
  try {
    await request(`/documents?${encodeQuery({ uri })}`, { method: "DELETE" });
    toggleDocument(documentUri, false);
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
    upload.addEventListener("error", () => reject(new Error(t("connection_lost_short"))));
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
  if (job.state !== "done") throw new Error(job.error || t(job.state === "stopped" ? "upload_stopped" : "upload_failed"));
  if (job.failed.length) {
    const documentCount = job.added + job.updated + job.unchanged;
    const problems = job.failed.map((failure) => `${showPath(failure.uri)}: ${failure.error}`);
    throw new Error([...(documentCount ? [tCount("documents_read", documentCount)] : []), ...problems].join("; "));
  }
  return job;
}

export async function uploadFiles(files) {
  if (!files.length) return;
  await loadTexts(); // files can be chosen before they are there
  const name = files.length === 1 ? files[0].name : tCount("files", files.length);
  const progress = createElement("progress", { max: 1, value: 0 });
  progress.setAttribute("aria-label", t("progress_of", { name }));
  const message = createElement("span", { textContent: t("uploading", { name }) });
  const note = createElement("li", { className: "note" }, message, progress);
  byId("jobs").append(note);
  try {
    const startedJob = await sendFiles(files, (share) => { progress.value = share; });
    const job = await awaitJob(startedJob, ({ seen, total }) => {
      message.textContent = t("processing", { name });
      if (seen) progress.value = seen / total;
      else progress.removeAttribute("value");
    });
    const replacement = job.updated ? t("replaced") : "";
    message.textContent = `${tCount("passages_of", job.chunks, { name })}${replacement}`;
    progress.value = 1;
    setTimeout(() => note.remove(), NOTE_MILLISECONDS);
  } catch (error) {
    progress.remove();
    message.textContent = error.message.startsWith(name) ? error.message : `${name}: ${error.message}`;
    message.className = "problem";
    const dismissButton = createElement("button", { type: "button", className: "icon", textContent: "✕" });
    dismissButton.setAttribute("aria-label", t("dismiss"));
    dismissButton.addEventListener("click", () => note.remove());
    note.append(" ", dismissButton);
  }
  await loadDocuments();
}
