// The view of an answer: its sentences, citation buttons, notes, trace and feedback.
// Offsets count Unicode code points, as everywhere in citewell; JavaScript's strings count UTF-16 units.

import { createElement, createIconButton, showStatus } from "./dom.js";
import { formatNumber, t } from "./i18n.js";
import { createCode, createFormula, createTable, renderInline, splitBlocks } from "./markdown.js";
import { encodeQuery, request } from "./server.js";
import { openSource } from "./source_panel.js";

const NO_ANSWER = "I could not find an answer to that in the sources."; // of the server, shown in the language of the page
const SENTENCE_FLAGS = { unsupported: "not_supported", contradicted: "contradicted", partly: "partly_supported" };

export class AnswerView {
  // `turn` is { conversation, number } once the answer is stored.
  constructor(onDraw = () => {}) {
    this.text = "";
    this.sentences = [];
    this.citations = [];
    this.turn = null;
    this.onDraw = onDraw;
    this.textBox = createElement("div", { className: "answer-text" });
    this.box = createElement("article", { className: "answer writing" }, this.textBox);
    this.box.setAttribute("aria-label", t("answer"));
    this.isDrawScheduled = false;
  }

  handleEvent(name, value) {
    if (name === "text") this.text += value.text;
    else if (name === "citation") this.citations[value.number] = value.citation;
    else if (name === "sentence") this.sentences[value.number] = value.sentence;
    else if (name === "done") {
      this.number = value.turn;
      this.complete(value.answer);
    }
    if (name !== "done" && !this.isDrawScheduled) {
      this.isDrawScheduled = true;
      requestAnimationFrame(() => {
        this.isDrawScheduled = false;
        if (!this.answer) this.draw();
        this.onDraw();
      });
    }
  }

  complete(answer, turn = null, feedback = {}) {
    this.text = answer.text === NO_ANSWER ? t("no_answer_text") : answer.text;
    this.sentences = answer.sentences;
    this.citations = answer.citations;
    this.answer = answer;
    this.turn = turn;
    this.box.classList.remove("writing");
    this.box.classList.toggle("abstained", answer.status === "abstained");
    this.draw();
    this.box.append(...createNotes(answer), createActions(answer, () => this.turn, feedback));
  }

  draw() {
    const codePoints = Array.from(this.text);
    const spans = this.sentences.filter(Boolean).map((sentence) => ({ sentence, placed: new Set() }));
    const renderSpan = (start, end) => this.renderSpan(codePoints, spans, start, end);
    const nodes = [];
    for (const block of splitBlocks(codePoints)) {
      if (block.kind === "table") nodes.push(createTable(block, codePoints, renderSpan));
      else if (block.kind === "code") nodes.push(createCode(block, codePoints));
      else if (block.kind === "formula") nodes.push(createFormula(codePoints.slice(block.start, block.end).join(""), true));
      else {
        nodes.push(...renderSpan(block.start, block.end));
        continue;
      }
      nodes.push(...spans.filter(({ sentence }) => sentence.end > block.start && sentence.end <= block.end)
        .flatMap((span) => this.finishSentence(span)));
    }
    this.textBox.replaceChildren(...nodes);
  }

  renderSpan(codePoints, spans, start, end) {
    const nodes = [];
    let position = start;
    for (const span of spans) {
      const [from, to] = [Math.max(start, span.sentence.start), Math.min(end, span.sentence.end)];
      if (from >= to) continue;
      if (from > position) nodes.push(...renderInline(codePoints.slice(position, from).join("")));
      const isLast = to === span.sentence.end;
      nodes.push(this.renderSentence(span, codePoints.slice(from, to).join(""), isLast));
      position = Math.max(position, to);
    }
    nodes.push(...renderInline(codePoints.slice(position, end).join("")));
    return nodes;
  }

  renderSentence(span, text, isLast) {
    const { sentence, placed } = span;
    const element = createElement("span", { className: `sentence ${sentence.status}` });
    const citations = sentence.citations.map((i) => this.citations[i]).filter(Boolean);
    let position = 0;
    for (const marker of text.matchAll(/\[(\d+)\]/g)) {
      const markerCitations = citations.filter((citation) => citation.marker === Number(marker[1]));
      if (!markerCitations.length) continue;
      element.append(...renderInline(text.slice(position, marker.index)));
      markerCitations.forEach((citation, i) => {
        placed.add(citation);
        element.append(createChip(citation, i));
      });
      position = marker.index + marker[0].length;
    }
    element.append(...renderInline(text.slice(position)));
    if (isLast) element.append(...this.finishSentence(span));
    return element;
  }

  // The citations of a sentence that have no marker in its text, and its flag; once for each sentence.
  finishSentence(span) {
    if (span.isFinished) return [];
    span.isFinished = true;
    const { sentence, placed } = span;
    const nodes = sentence.citations.map((i) => this.citations[i])
      .filter((citation) => citation && !placed.has(citation))
      .map((citation) => createChip(citation, 0));
    if (SENTENCE_FLAGS[sentence.status]) {
      nodes.push(createElement("span", {
        className: "flag", textContent: t(SENTENCE_FLAGS[sentence.status]),
        title: t(sentence.status === "contradicted" ? "why_contradicted" : "why_not_supported"),
      }));
    }
    return nodes;
  }
}

const describePlace = (located) => {
  const page = located.page ? t("page_number", { page: located.page }) : "";
  return `${located.title || located.uri}${page}`;
};

function createChip(citation, indexOfMarker) {
  const label = indexOfMarker ? `${citation.marker}.${indexOfMarker + 1}` : String(citation.marker);
  const place = describePlace(citation);
  const chip = createElement("button", { type: "button", className: "chip", textContent: label });
  chip.title = `${place}: ${(citation.heading_context || "").slice(0, 200)}\n${citation.quote.slice(0, 200)}`;
  chip.setAttribute("aria-label", t("citation", { label, place }));
  if (!citation.verified) {
    chip.classList.add("unverified");
    chip.title = `${t("not_verified")} ${chip.title}`;
  }
  chip.addEventListener("click", () => openSource(citation, chip));
  return chip;
}

function createNotes(answer) {
  const texts = [];
  const usage = answer.usage;
  if (answer.reason) texts.push(answer.reason);
  if (usage.calls) {
    texts.push(t("tokens", { input: formatNumber(usage.input_tokens), output: formatNumber(usage.output_tokens) }));
  }
  if (usage.cost_usd) texts.push(`$${usage.cost_usd.toFixed(4)}`);
  const spans = texts.map((text) => createElement("span", { textContent: text }));
  const notes = [createElement("div", { className: "notes quiet" }, ...spans)];
  if (answer.closest.length) notes.push(createClosestPassages(answer.closest));
  return notes;
}

function createClosestPassages(passages) {
  const summary = createElement("summary", { textContent: t("closest") });
  const details = createElement("details", { className: "closest", open: true }, summary);
  for (const passage of passages) {
    const page = passage.page ? t("page_number", { page: passage.page }) : "";
    const context = passage.heading_context || passage.title || passage.uri;
    const button = createElement("button", { type: "button" },
      createElement("strong", { textContent: `${context.slice(0, 200)}${page}` }),
      createElement("span", { className: "quiet", textContent: ` (${passage.reason})` }),
      createElement("span", { className: "excerpt", textContent: passage.quote }));
    button.addEventListener("click", () => openSource(passage, button));
    details.append(button);
  }
  return details;
}

// -- trace ---------------------------------------------------------------------------------------

const HIDDEN_DETAILS = new Set(["name", "seconds", "retriever", "verifier", "favoured", "draft", "thoughts"]);

function describeStep(step) {
  const details = Object.entries(step)
    .filter(([key, value]) => !HIDDEN_DETAILS.has(key) && value !== null && value !== "" && value?.length !== 0)
    .map(([key, value]) => {
      if (key === "prompt") return `prompt ${value.name} ${value.version}`;
      return `${key.replaceAll("_", " ")}: ${Array.isArray(value) ? value.map(String).join(" · ") : String(value)}`;
    });
  if (step.favoured?.length) details.push(`favoured: ${step.favoured.map((document) => document.names.join(" ")).join(" · ")}`);
  return details.join("; ").slice(0, 600);
}

function createRow(kind, ...cells) {
  return createElement("tr", {}, ...cells.map((cell) => createElement(kind, {}, cell)));
}

function createTrace(answer) {
  const stages = createElement("table", {}, createRow("th", t("stage"), t("time"), t("detail")));
  for (const step of answer.trace) stages.append(createRow("td", step.name, `${(1000 * step.seconds).toFixed(0)} ms`, describeStep(step)));
  const details = createElement("details", { className: "trace" }, createElement("summary", { textContent: t("trace") }),
    createElement("div", { className: "table-box", tabIndex: 0 }, stages));
  const draft = answer.trace.find((step) => step.draft)?.draft;
  if (draft) details.append(createElement("pre", { className: "code", tabIndex: 0, textContent: draft }));
  if (answer.hits.length) details.append(createElement("p", { className: "subhead", textContent: t("passages") }), createHits(answer.hits));
  return details;
}

function createHits(hits) {
  const table = createElement("table", {}, createRow("th", t("place"), t("score"), t("detail")));
  for (const { chunk, score, stage_scores: stages } of hits) {
    const button = createElement("button", { type: "button", className: "link", textContent: describePlace(chunk) });
    button.addEventListener("click", () => openSource({ ...chunk, quote: chunk.text }, button));
    const ranks = Object.entries(stages).map(([name, stage]) => `${name} #${stage.rank} (${stage.score.toFixed(3)})`).join(", ");
    table.append(createRow("td", button, score.toFixed(3), ranks));
  }
  return createElement("div", { className: "table-box", tabIndex: 0 }, table);
}

// -- feedback --------------------------------------------------------------------------------------

function createActions(answer, getTurn, { rating = null, comment = "" }) {
  const actions = createElement("div", { className: "actions" });
  const copyButton = createIconButton("copy", t("copy_answer"));
  copyButton.addEventListener("click", async () => {
    await navigator.clipboard.writeText(answer.text);
    showStatus(t("copied"));
  });
  const buttons = { up: createIconButton("up", t("good")), down: createIconButton("down", t("bad")) };
  const commentBox = createElement("input", { type: "text", maxLength: 2000, value: comment, placeholder: t("why") });
  commentBox.setAttribute("aria-label", t("why"));
  const form = createElement("form", { className: "comment", hidden: true }, commentBox,
    createElement("button", { type: "submit", textContent: t("send") }));
  let current = rating;
  const show = () => {
    for (const [name, button] of Object.entries(buttons)) button.setAttribute("aria-pressed", String(name === current));
  };
  const send = async () => {
    const turn = getTurn();
    if (!turn) return;
    await request(`/feedback?${encodeQuery({ name: turn.conversation })}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ number: turn.number, rating: current, comment: current ? commentBox.value : "" }),
    });
    showStatus(current ? t("thanks") : "");
  };
  for (const [name, button] of Object.entries(buttons)) {
    button.addEventListener("click", () => {
      current = current === name ? null : name;
      form.hidden = current === null;
      show();
      send();
      if (current) commentBox.focus();
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    form.hidden = true;
    send();
    buttons[current]?.focus();
  });
  show();
  actions.append(buttons.up, buttons.down, copyButton, form, createTrace(answer));
  return actions;
}
