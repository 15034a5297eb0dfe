"use strict";
// The page: a conversation, the documents it is with, and the source of each citation beside it.
// Whatever comes from documents, models and people is set as text, never as markup. Offsets count
// Unicode code points, as everywhere in citewell; JavaScript's strings count otherwise.

const $ = (id) => document.getElementById(id);
const KEY = "citewell-key", THEME = "citewell-theme", TALK = "citewell-conversation";
const POLL = 400; // milliseconds between looks at an ingest

let conversation = null; // name of the conversation that is shown
let asking = null; // AbortController of the question that is being answered
let opener = null; // what had the focus before the source was opened
let shown = null; // the source that is shown
let wanted = 0; // counts what was asked to be shown: a slow reply to an earlier wish is not

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const counted = (number, what) => `${number.toLocaleString()} ${what}${number === 1 ? "" : "s"}`;

// -- talking with the server ---------------------------------------------------------------

class Refused extends Error {
  constructor(status, problem) {
    super(problem?.message || `the server answered ${status}`);
    this.status = status;
    this.code = problem?.code;
  }
}

const here = (path) => new URL(`.${path}`, document.baseURI); // wherever the server is mounted

function headers(more = {}) {
  const key = sessionStorage.getItem(KEY);
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

async function reach(path, options) {
  try {
    return await fetch(here(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it running?");
  }
}

async function request(path, options = {}) {
  const response = await reach(path, { ...options, headers: headers(options.headers) });
  if (response.status === 401) {
    await askForKey();
    return request(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new Refused(response.status, body?.error);
  }
  return response;
}

const json = async (path, options) => (await request(path, options)).json();

const query = (values) => new URLSearchParams(values).toString();

let keyAsked = null; // one dialog for all requests that wait for a key

function askForKey(fault = "") {
  if (keyAsked) return keyAsked;
  $("leave").hidden = true;
  $("key-fault").textContent = fault || (sessionStorage.getItem(KEY) ? "This key is not known." : "");
  sessionStorage.removeItem(KEY);
  $("key").value = "";
  $("key-dialog").showModal();
  keyAsked = new Promise((go) => {
    $("key-dialog").addEventListener("close", () => {
      keyAsked = null;
      const given = $("key").value.trim();
      if (given && !/^[!-~]+$/.test(given)) {
        askForKey("This is no key.").then(go);
      } else if (given) {
        sessionStorage.setItem(KEY, given);
        $("leave").hidden = false;
        go();
      } else {
        askForKey().then(go);
      }
    }, { once: true });
  });
  return keyAsked;
}

// -- the conversation ----------------------------------------------------------------------

function say(text, wrong = false) {
  $("state").textContent = text;
  $("state").classList.toggle("wrong", wrong);
}

function showEmpty() {
  $("talk").replaceChildren(make("p", { className: "empty", id: "empty" }));
  loadDocuments();
}

function follow() {
  const talk = $("talk");
  if (talk.scrollHeight - talk.scrollTop - talk.clientHeight < 200) talk.scrollTop = talk.scrollHeight;
}

class AnswerView {
  constructor() {
    this.text = "";
    this.sentences = [];
    this.citations = [];
    this.said = make("div", { className: "said" });
    this.box = make("article", { className: "answer writing" }, this.said);
    this.box.setAttribute("aria-label", "Answer");
    this.due = false;
  }

  take(name, value) {
    if (name === "text") this.text += value.text;
    else if (name === "citation") this.citations[value.number] = value.citation;
    else if (name === "sentence") this.sentences[value.number] = value.sentence;
    else if (name === "done") this.finish(value.answer);
    if (name !== "done" && !this.due) {
      this.due = true;
      requestAnimationFrame(() => { this.due = false; this.draw(); follow(); });
    }
  }

  finish(answer) {
    this.text = answer.text;
    this.sentences = answer.sentences;
    this.citations = answer.citations;
    this.answer = answer;
    this.box.classList.remove("writing");
    this.box.classList.toggle("abstained", answer.status === "abstained");
    this.draw();
    this.box.append(...this.notes(answer));
  }

  draw() {
    if (this.drawn && this.answer && this.drawn === this.answer) return;
    this.drawn = this.answer;
    const points = Array.from(this.text);
    const parts = [];
    let at = 0;
    for (const sentence of this.sentences.filter(Boolean)) {
      if (sentence.start > at) parts.push(...rich(points.slice(at, sentence.start).join("")));
      parts.push(this.sentence(sentence, points.slice(sentence.start, sentence.end).join("")));
      at = Math.max(at, sentence.end);
    }
    parts.push(...rich(points.slice(at).join("")));
    this.said.replaceChildren(...parts);
  }

  sentence(sentence, text) {
    const made = make("span", { className: `sentence ${sentence.status}` });
    const cited = sentence.citations.map((i) => this.citations[i]).filter(Boolean);
    const told = new Set();
    let at = 0;
    for (const found of text.matchAll(/\[(\d+)\]/g)) {
      const of = cited.filter((c) => c.marker === Number(found[1]));
      if (!of.length) continue;
      made.append(...rich(text.slice(at, found.index)));
      of.forEach((c, i) => { told.add(c); made.append(this.chip(c, i)); });
      at = found.index + found[0].length;
    }
    made.append(...rich(text.slice(at)));
    for (const c of cited) if (!told.has(c)) made.append(this.chip(c, 0));
    const flags = { unsupported: "not supported", partly: "partly supported" };
    if (flags[sentence.status]) {
      made.append(make("span", {
        className: "flag", textContent: flags[sentence.status],
        title: "The sources do not say this, or not all of it.",
      }));
    }
    return made;
  }

  chip(citation, more) {
    const label = more ? `${citation.marker}.${more + 1}` : String(citation.marker);
    const where = citation.title || citation.uri;
    const page = citation.page ? `, page ${citation.page}` : "";
    const made = make("button", { type: "button", className: "chip", textContent: label });
    made.title = `${where}${page}: ${citation.quote.slice(0, 200)}`;
    made.setAttribute("aria-label", `Citation ${label}: ${where}${page}`);
    if (!citation.verified) {
      made.classList.add("unverified");
      made.title = `Not verified. ${made.title}`;
    }
    made.addEventListener("click", () => openSource(citation, made));
    return made;
  }

  notes(answer) {
    const found = [];
    if (answer.reason) found.push(answer.reason);
    const used = answer.usage;
    if (used.calls) found.push(`${counted(used.input_tokens, "token")} in, ${used.output_tokens.toLocaleString()} out`);
    if (used.cost_usd) found.push(`$${used.cost_usd.toFixed(4)}`);
    const notes = [make("div", { className: "notes quiet" }, ...found.map((text) => make("span", { textContent: text })))];
    if (answer.status === "abstained" && answer.hits.length) {
      const nearest = make("details", { className: "nearest" }, make("summary", { textContent: "Nearest passages" }));
      for (const { chunk } of answer.hits.slice(0, 3)) {
        const made = make("button", { type: "button", textContent: `${chunk.title || chunk.uri}: ${chunk.text.slice(0, 160)} …` });
        made.addEventListener("click", () => openSource({ ...chunk, quote: chunk.text }, made));
        nearest.append(made);
      }
      notes.push(nearest);
    }
    return notes;
  }
}

// The Markdown that models write, as far as it goes within a sentence: bold, code, headings, lists,
// rows of tables. Nodes that hold text and nothing else; the words stay as they are.
function rich(text) {
  const parts = [];
  for (const line of text.split(/(?<=\n)/)) {
    const head = /^(#{1,6}) +/.exec(line);
    const item = /^( *)[-*+] +/.exec(line);
    if (head) parts.push(make("strong", { textContent: line.slice(head[0].length) }));
    else if (/^ *\|.*\| *\n?$/.test(line)) parts.push(make("code", { textContent: line }));
    else {
      const rest = item ? line.slice(item[0].length) : line;
      if (item) parts.push(`${item[1]}• `);
      for (const piece of rest.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`)/)) {
        if (piece.startsWith("**") && piece.length > 4) parts.push(make("strong", { textContent: piece.slice(2, -2) }));
        else if (piece.startsWith("`") && piece.length > 2) parts.push(make("code", { textContent: piece.slice(1, -1) }));
        else if (piece) parts.push(piece);
      }
    }
  }
  return parts;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

async function ask(question) {
  $("empty")?.remove();
  conversation ??= `${new Date().toISOString().slice(0, 16).replace("T", " ")} ${Math.random().toString(16).slice(2, 6)}`;
  sessionStorage.setItem(TALK, conversation);
  const name = conversation;
  const view = new AnswerView();
  const asked = make("div", { className: "asked", textContent: question });
  $("talk").append(asked, view.box);
  $("talk").scrollTop = $("talk").scrollHeight;
  say("");
  busy(new AbortController());
  try {
    const response = await request("/ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ question, conversation, stream: true }),
      signal: asking.signal,
    });
    for await (const [event, value] of events(response)) {
      if (event === "error") throw new Error(value.message);
      view.take(event, value);
    }
    if (!view.answer) throw new Error("the answer broke off");
    const cited = counted(view.citations.length, "citation");
    say(view.answer.status === "abstained" ? "No answer in the sources" : `Answered, with ${cited}`);
    follow();
  } catch (error) {
    view.box.classList.remove("writing");
    if (error.name === "AbortError") say("Stopped");
    else say(error.code === "nothing_ingested" ? "There are no documents yet: upload some" : error.message, true);
    if (!view.text) view.box.remove();
    if (!view.text && error.name !== "AbortError" && !$("question").value) {
      $("question").value = question; // to be sent again
      grow();
      asked.remove();
    }
  } finally {
    busy(null);
    if (name === conversation) loadTalks();
  }
}

function busy(controller) {
  asking = controller;
  $("send").hidden = controller !== null;
  $("stop").hidden = controller === null;
}

function title() {
  const current = $("talks").querySelector(".current > .open");
  $("where").textContent = current ? current.textContent : "";
}

async function loadTalks() {
  const { conversations } = await json("/conversations");
  $("talks").replaceChildren(...conversations.map((talk) => {
    const open = make("button", { type: "button", className: "open", textContent: talk.first_question, title: talk.first_question });
    open.addEventListener("click", () => openTalk(talk.name));
    const gone = make("button", { type: "button", className: "icon", textContent: "✕" });
    gone.setAttribute("aria-label", `Delete the conversation: ${talk.first_question}`);
    gone.addEventListener("click", () => deleteTalk(talk));
    const item = make("li", {}, open, gone);
    if (talk.name === conversation) {
      item.classList.add("current");
      open.setAttribute("aria-current", "true");
    }
    return item;
  }));
  title();
}

async function openTalk(name) {
  asking?.abort();
  const mine = ++wanted;
  const { turns } = await json(`/conversation?${query({ name })}`);
  if (mine !== wanted) return;
  conversation = name;
  sessionStorage.setItem(TALK, name);
  $("talk").replaceChildren();
  for (const turn of turns) {
    const view = new AnswerView();
    view.finish(turn.answer);
    $("talk").append(make("div", { className: "asked", textContent: turn.question }), view.box);
  }
  if (!turns.length) showEmpty();
  $("talk").scrollTop = $("talk").scrollHeight;
  closeSource();
  closeSide();
  say("");
  await loadTalks();
  $("question").focus();
}

async function deleteTalk(talk) {
  if (!confirm(`Delete the conversation “${talk.first_question}”?`)) return;
  await request(`/conversation?${query({ name: talk.name })}`, { method: "DELETE" });
  if (talk.name === conversation) newTalk();
  await loadTalks();
  ($("talks").querySelector("button") || $("new")).focus();
}

function newTalk() {
  asking?.abort();
  conversation = null;
  sessionStorage.removeItem(TALK);
  closeSource();
  closeSide();
  showEmpty();
  say("");
  loadTalks();
  $("question").focus();
}

// -- documents -----------------------------------------------------------------------------

async function loadDocuments() {
  const { documents, total, failures } = await json("/documents?limit=1000");
  $("count").textContent = total ? total.toLocaleString() : "";
  $("documents").replaceChildren(...documents.map((found) => {
    const name = found.title || found.uri;
    const open = make("button", { type: "button", className: "open", textContent: name, title: found.uri });
    open.addEventListener("click", () => { closeSide(); openSource({ uri: found.uri, title: found.title }, open); });
    const gone = make("button", { type: "button", className: "icon", textContent: "✕" });
    gone.setAttribute("aria-label", `Delete the document ${name}`);
    gone.addEventListener("click", () => deleteDocument(found, name));
    return make("li", {}, open, gone);
  }));
  if (total > documents.length) {
    const more = `and ${(total - documents.length).toLocaleString()} more`;
    $("documents").append(make("li", { className: "note quiet", textContent: more }));
  }
  $("failures").hidden = !failures.length;
  $("failures").querySelector("summary").textContent = `${counted(failures.length, "file")} could not be read`;
  $("failures").querySelector("ul").replaceChildren(...failures.map(
    (failure) => make("li", { textContent: `${failure.uri}: ${failure.error}` })));
  const empty = $("empty");
  if (empty) {
    empty.textContent = total
      ? `Ask something of ${counted(total, "document")}.`
      : "No documents yet. Upload some, or run: rag ingest FOLDER";
  }
}

async function deleteDocument(found, name) {
  const whole = found.uri.startsWith("upload:") ? found.uri.split("!/")[0] : found.uri;
  const what = whole === found.uri ? `“${name}”` : `“${decodeURIComponent(whole.slice(10))}”, with all that was in it,`;
  if (!confirm(`Delete ${what} from the index?`)) return;
  try {
    await request(`/documents?${query({ uri: whole })}`, { method: "DELETE" });
    if (shown?.uri.startsWith(whole)) closeSource();
  } catch (error) {
    say(error.message, true);
  }
  await loadDocuments();
  ($("documents").querySelector("button") || $("add")).focus();
}

function send(files, told) {
  return new Promise((done, failed) => {
    const form = new FormData();
    for (const file of files) form.append("files", file);
    const sending = new XMLHttpRequest(); // fetch does not say how much was sent
    sending.open("POST", here("/documents"));
    for (const [name, value] of Object.entries(headers())) sending.setRequestHeader(name, value);
    sending.upload.addEventListener("progress", (event) => told(event.loaded / event.total));
    sending.addEventListener("error", () => failed(new Error("the connection broke off")));
    sending.addEventListener("load", () => {
      let body = null;
      try { body = JSON.parse(sending.responseText); } catch { /* not ours */ }
      if (sending.status === 202) done(body);
      else if (sending.status === 401) askForKey().then(() => send(files, told)).then(done, failed);
      else failed(new Refused(sending.status, body?.error));
    });
    sending.send(form);
  });
}

async function upload(files) {
  if (!files.length) return;
  const what = files.length === 1 ? files[0].name : counted(files.length, "file");
  const progress = make("progress", { max: 1, value: 0 });
  const told = make("span", { textContent: `Sending ${what}` });
  progress.setAttribute("aria-label", `Progress of ${what}`);
  const note = make("li", { className: "note" }, told, progress);
  $("jobs").append(note);
  try {
    let job = await send(files, (share) => { progress.value = share; });
    while (job.state === "waiting" || job.state === "running") {
      told.textContent = `Reading ${what}`;
      if (job.seen) progress.value = job.seen / job.total;
      else progress.removeAttribute("value");
      await new Promise((go) => setTimeout(go, POLL));
      job = await json(`/jobs/${job.id}`);
    }
    if (job.state !== "done") throw new Error(job.error || `it was ${job.state}`);
    if (job.failed.length) {
      const read = job.added + job.updated + job.unchanged;
      const named = job.failed.map((f) => `${decodeURIComponent(f.uri.slice(10))}: ${f.error}`);
      throw new Error([...(read ? [`${counted(read, "document")} read`] : []), ...named].join("; "));
    }
    const how = job.updated ? ", in place of the earlier one" : "";
    told.textContent = `${what}: ${counted(job.chunks, "passage")}${how}`;
    progress.value = 1;
    setTimeout(() => note.remove(), 4000);
  } catch (error) {
    progress.remove();
    told.textContent = error.message.startsWith(what) ? error.message : `${what}: ${error.message}`;
    told.className = "fault";
    const away = make("button", { type: "button", className: "icon", textContent: "✕" });
    away.setAttribute("aria-label", "Put this message away");
    away.addEventListener("click", () => note.remove());
    note.append(" ", away);
  }
  await loadDocuments();
}

// -- the source beside the chat ------------------------------------------------------------

async function openSource(citation, from) {
  for (const chip of document.querySelectorAll(".chip.open")) chip.classList.remove("open");
  from?.classList.add("open");
  opener = from || opener;
  $("source").hidden = false;
  $("body").classList.add("with-source");
  $("source-title").textContent = citation.title || citation.uri;
  $("source-about").textContent = "";
  $("views").hidden = true;
  $("source-body").replaceChildren(make("p", { className: "quiet", textContent: "Loading …" }));
  $("source-title").focus({ preventScroll: true });
  const span = { uri: citation.uri };
  if (citation.end > citation.start) Object.assign(span, { start: citation.start, end: citation.end });
  const mine = ++wanted;
  try {
    const found = await json(`/documents/source?${query(span)}`);
    if (mine !== wanted) return;
    shown = { ...found, citation, pages: lastPage(found) };
    const place = found.end === null ? `${found.characters.toLocaleString()} characters` : `characters ${found.start}–${found.end}`;
    const page = found.page ? `, page ${found.page}` : "";
    const stale = found.end !== null && quoted(found) !== citation.quote ? " (changed since it was cited)" : "";
    $("source-about").textContent = `${found.uri}${page}, ${place}${stale}`;
    $("views").hidden = !found.pictures;
    if (found.pictures) await showPage(found.page || 1);
    else showText();
  } catch (error) {
    if (mine !== wanted) return;
    shown = null;
    if (citation.quote && error.status === 404) showQuote(citation);
    else $("source-body").replaceChildren(make("p", { className: "fault", textContent: error.message }));
  }
}

function quoted(found) {
  return Array.from(found.text).slice(found.start - found.offset, found.end - found.offset).join("");
}

function lastPage(found) {
  return Math.max(0, ...found.marks.filter((mark) => mark.kind === "page").map((mark) => mark.value));
}

function showQuote(citation) {
  $("source-about").textContent = "The index does not hold this source (any more). This was quoted:";
  $("source-body").replaceChildren(make("pre", {}, make("mark", { textContent: citation.quote })));
}

function pressed(page) {
  $("view-page").setAttribute("aria-pressed", String(page));
  $("view-text").setAttribute("aria-pressed", String(!page));
  $("pages").hidden = !page;
}

function showText() {
  pressed(false);
  const points = Array.from(shown.text);
  const text = make("pre");
  if (shown.offset > 0) text.append("… ");
  if (shown.end === null) {
    text.append(shown.text);
  } else {
    const [a, b] = [shown.start - shown.offset, shown.end - shown.offset];
    text.append(points.slice(0, a).join(""), make("mark", { textContent: points.slice(a, b).join("") }), points.slice(b).join(""));
  }
  if (shown.offset + points.length < shown.characters) text.append(" …");
  $("source-body").replaceChildren(text);
  text.querySelector("mark")?.scrollIntoView({ block: "center" });
}

async function showPage(number) {
  pressed(true);
  const source = shown;
  const asked = { uri: source.uri, number };
  if (source.end !== null) Object.assign(asked, { start: source.start, end: source.end });
  try {
    const response = await request(`/documents/page?${query(asked)}`);
    const picture = await response.blob();
    const marked = response.headers.get("Citewell-Marked-At");
    if (shown !== source) return;
    const image = make("img", { alt: `Page ${number}${marked === null ? "" : ", the cited words marked"}` });
    image.addEventListener("load", () => {
      URL.revokeObjectURL(image.src);
      const box = $("source-body");
      box.scrollTop = marked === null ? 0 : Number(marked) * image.clientHeight - box.clientHeight / 3;
    }, { once: true });
    image.src = URL.createObjectURL(picture);
    image.title = "Larger, or smaller";
    image.addEventListener("click", () => image.classList.toggle("large"));
    $("source-body").replaceChildren(image);
    source.number = number;
    $("page-number").textContent = source.pages ? `${number} / ${source.pages}` : String(number);
    $("previous").disabled = number <= 1;
    $("next").disabled = source.pages > 0 && number >= source.pages;
  } catch (error) {
    if (shown !== source) return;
    say(error.message, true);
    showText();
  }
}

function closeSource() {
  if ($("source").hidden) return;
  $("source").hidden = true;
  $("body").classList.remove("with-source");
  for (const chip of document.querySelectorAll(".chip.open")) chip.classList.remove("open");
  shown = null;
  if (opener?.isConnected) opener.focus();
  opener = null;
}

function closeSide() {
  $("side").classList.remove("shown");
  $("open-side").setAttribute("aria-expanded", "false");
}

// -- light and dark ------------------------------------------------------------------------

const THEMES = { auto: "◐", light: "☀", dark: "☾" };

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  localStorage.setItem(THEME, name);
  $("theme").textContent = THEMES[name];
  $("theme").title = `Colours: ${name}`;
  $("theme").setAttribute("aria-label", `Colours: ${name}. Change.`);
}

// -- beginning -----------------------------------------------------------------------------

function grow() {
  const box = $("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = $("question").value.trim();
    if (!question || asking) return;
    $("question").value = "";
    grow();
    ask(question);
  });
  $("question").addEventListener("input", grow);
  $("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      $("ask").requestSubmit();
    }
  });
  $("stop").addEventListener("click", () => asking?.abort());
  $("new").addEventListener("click", newTalk);
  $("add").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => { upload([...$("files").files]); $("files").value = ""; });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => { event.preventDefault(); upload([...event.dataTransfer.files]); });
  $("close-source").addEventListener("click", closeSource);
  $("view-page").addEventListener("click", () => showPage(shown.number || shown.page || 1));
  $("view-text").addEventListener("click", showText);
  $("previous").addEventListener("click", () => showPage(shown.number - 1));
  $("next").addEventListener("click", () => showPage(shown.number + 1));
  $("open-side").addEventListener("click", () => {
    const open = $("side").classList.toggle("shown");
    $("open-side").setAttribute("aria-expanded", String(open));
    if (open) $("new").focus();
  });
  $("leave").addEventListener("click", () => { sessionStorage.clear(); location.reload(); });
  $("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const now = localStorage.getItem(THEME) || "auto";
    setTheme(names[(names.indexOf(now) + 1) % names.length]);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !$("key-dialog").open) {
      if ($("side").classList.contains("shown")) { closeSide(); $("open-side").focus(); }
      else if (!$("source").hidden) closeSource();
      else asking?.abort();
    }
    const typing = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      $("question").focus();
    }
  });
  addEventListener("unhandledrejection", (event) => {
    say(event.reason?.message || "something went wrong", true);
  });
}

async function main() {
  setTheme(localStorage.getItem(THEME) in THEMES ? localStorage.getItem(THEME) : "auto");
  $("leave").hidden = !sessionStorage.getItem(KEY);
  listen();
  const name = sessionStorage.getItem(TALK);
  if (name) {
    await openTalk(name);
    await loadDocuments();
  } else {
    showEmpty();
    await loadTalks();
  }
  $("question").focus();
}

main();
