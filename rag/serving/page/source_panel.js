// The panel with the source of a citation: its text, or a page of its PDF, scrolled to the quote.

import { byId, createElement, showStatus } from "./dom.js";
import { formatNumber, t } from "./i18n.js";
import { encodeQuery, request, requestJson } from "./server.js";

let currentSource = null; // the source that is shown
let focusBeforeOpening = null; // the element that had the focus before the panel was opened
let lastOpening = 0; // number of the last source opened: a late response to an earlier one is ignored

export const currentUri = () => currentSource?.uri;

export const isSourceOpen = () => !byId("source").hidden;

function unmarkChips() {
  for (const chip of document.querySelectorAll(".chip.open")) chip.classList.remove("open");
}

export async function openSource(citation, trigger) {
  unmarkChips();
  trigger?.classList.add("open");
  focusBeforeOpening = trigger || focusBeforeOpening;
  byId("source").hidden = false;
  byId("body").classList.add("with-source");
  byId("source-title").textContent = citation.title || citation.uri;
  byId("source-location").textContent = "";
  byId("views").hidden = true;
  byId("source-body").replaceChildren(createElement("p", { className: "quiet", textContent: t("loading") }));
  byId("source-title").focus({ preventScroll: true });
  const parameters = { uri: citation.uri };
  if (citation.end > citation.start) Object.assign(parameters, { start: citation.start, end: citation.end });
  const hash = `#${encodeQuery({ source: citation.uri, start: parameters.start ?? "", end: parameters.end ?? "" })}`;
  if (location.hash.startsWith("#source=")) history.replaceState(null, "", hash);
  else if (location.hash !== hash) history.pushState(null, "", hash); // so that Back closes the source
  const opening = ++lastOpening;
  try {
    const source = await requestJson(`/documents/source?${encodeQuery(parameters)}`);
    if (opening !== lastOpening) return;
    currentSource = { ...source, lastPage: findLastPage(source) };
    byId("source-title").textContent = source.title || source.uri;
    const context = citation.heading_context ? ` · ${citation.heading_context}` : "";
    byId("source-location").textContent = describeLocation(source, citation.quote) + context;
    byId("views").hidden = !source.pictures;
    if (source.pictures) await showPage(source.page || 1);
    else showText();
  } catch (error) {
    if (opening !== lastOpening) return;
    currentSource = null;
    if (citation.quote && error.status === 404) showQuoteOnly(citation.quote);
    else byId("source-body").replaceChildren(createElement("p", { className: "problem", textContent: error.message }));
  }
}

function describeLocation(source, quote) {
  const page = source.page ? t("page_number", { page: source.page }) : "";
  if (source.end === null) return `${source.uri}${page}, ${t("characters", { count: formatNumber(source.characters) })}`;
  const isStale = quote !== undefined && readSpan(source) !== quote;
  return `${source.uri}${page}, ${t("span", { start: source.start, end: source.end })}${isStale ? t("changed") : ""}`;
}

function readSpan(source) {
  return Array.from(source.text).slice(source.start - source.offset, source.end - source.offset).join("");
}

function findLastPage(source) {
  return Math.max(0, ...source.marks.filter((mark) => mark.kind === "page").map((mark) => mark.value));
}

function showQuoteOnly(quote) {
  byId("source-location").textContent = t("source_gone");
  byId("source-body").replaceChildren(createElement("pre", {}, createElement("mark", { textContent: quote })));
}

function selectView(isPage) {
  byId("view-page").setAttribute("aria-pressed", String(isPage));
  byId("view-text").setAttribute("aria-pressed", String(!isPage));
  byId("pages").hidden = !isPage;
}

function showText() {
  selectView(false);
  const source = currentSource;
  const codePoints = Array.from(source.text);
  const text = createElement("pre");
  if (source.offset > 0) text.append("… ");
  if (source.end === null) {
    text.append(source.text);
  } else {
    const [start, end] = [source.start - source.offset, source.end - source.offset];
    const mark = createElement("mark", { textContent: codePoints.slice(start, end).join("") });
    text.append(codePoints.slice(0, start).join(""), mark, codePoints.slice(end).join(""));
  }
  if (source.offset + codePoints.length < source.characters) text.append(" …");
  byId("source-body").replaceChildren(text);
  text.querySelector("mark")?.scrollIntoView({ block: "center" });
}

async function showPage(number) {
  selectView(true);
  const source = currentSource;
  const parameters = { uri: source.uri, number };
  if (source.end !== null) Object.assign(parameters, { start: source.start, end: source.end });
  try {
    const response = await request(`/documents/page?${encodeQuery(parameters)}`);
    const picture = await response.blob();
    if (currentSource !== source) return;
    showPicture(picture, number, response.headers.get("Citewell-Marked-At"));
    source.shownPage = number;
    byId("page-number").textContent = source.lastPage ? `${number} / ${source.lastPage}` : String(number);
    byId("previous-page").disabled = number <= 1;
    byId("next-page").disabled = source.lastPage > 0 && number >= source.lastPage;
  } catch (error) {
    if (currentSource !== source) return;
    showStatus(error.message, true);
    showText();
  }
}

function showPicture(picture, number, markedAt) {
  const image = createElement("img", { alt: t(markedAt === null ? "picture" : "picture_marked", { page: number }) });
  image.addEventListener("load", () => {
    URL.revokeObjectURL(image.src);
    const box = byId("source-body");
    box.scrollTop = markedAt === null ? 0 : Number(markedAt) * image.clientHeight - box.clientHeight / 3;
  }, { once: true });
  image.addEventListener("click", () => image.classList.toggle("large"));
  image.src = URL.createObjectURL(picture);
  byId("source-body").replaceChildren(image);
}

// Opens the source that the address of the page names, so that a citation can be sent as a link.
export function openLinkedSource() {
  const values = new URLSearchParams(location.hash.slice(1));
  const uri = values.get("source");
  if (!uri || (isSourceOpen() && currentSource?.uri === uri && String(currentSource.start ?? "") === values.get("start"))) return;
  const [start, end] = ["start", "end"].map((name) => Math.max(0, Math.trunc(Number(values.get(name))) || 0));
  openSource({ uri, start, end: Math.max(start, end) });
}

async function copyLink() {
  await navigator.clipboard.writeText(location.href);
  showStatus(t("copied"));
}

export function closeSource() {
  if (!isSourceOpen()) return;
  if (location.hash.startsWith("#source=")) history.replaceState(null, "", location.pathname + location.search);
  lastOpening += 1;
  byId("source").hidden = true;
  byId("body").classList.remove("with-source");
  unmarkChips();
  currentSource = null;
  if (focusBeforeOpening?.isConnected) focusBeforeOpening.focus();
  focusBeforeOpening = null;
}

export function listenToSourcePanel() {
  byId("close-source").addEventListener("click", closeSource);
  byId("copy-link").addEventListener("click", copyLink);
  byId("view-page").addEventListener("click", () => showPage(currentSource.shownPage || currentSource.page || 1));
  byId("view-text").addEventListener("click", showText);
  byId("previous-page").addEventListener("click", () => showPage(currentSource.shownPage - 1));
  byId("next-page").addEventListener("click", () => showPage(currentSource.shownPage + 1));
}
