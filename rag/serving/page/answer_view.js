// The view of an answer: its sentences, citation buttons, token counts and closest passages.
// Offsets count Unicode code points, as everywhere in citewell; JavaScript's strings count UTF-16 units.

import { createElement, formatCount } from "./dom.js";
import { openSource } from "./source_panel.js";

const SENTENCE_FLAGS = { unsupported: "not supported", contradicted: "contradicted", partly: "partly supported" };

export class AnswerView {
  constructor(onDraw = () => {}) {
    this.text = "";
    this.sentences = [];
    this.citations = [];
    this.onDraw = onDraw;
    this.textBox = createElement("div", { className: "answer-text" });
    this.box = createElement("article", { className: "answer writing" }, this.textBox);
    this.box.setAttribute("aria-label", "Answer");
    this.isDrawScheduled = false;
  }

  handleEvent(name, value) {
    if (name === "text") this.text += value.text;
    else if (name === "citation") this.citations[value.number] = value.citation;
    else if (name === "sentence") this.sentences[value.number] = value.sentence;
    else if (name === "done") this.complete(value.answer);
    if (name !== "done" && !this.isDrawScheduled) {
      this.isDrawScheduled = true;
      requestAnimationFrame(() => {
        this.isDrawScheduled = false;
        if (!this.answer) this.draw();
        this.onDraw();
      });
    }
  }

  complete(answer) {
    this.text = answer.text;
    this.sentences = answer.sentences;
    this.citations = answer.citations;
    this.answer = answer;
    this.box.classList.remove("writing");
    this.box.classList.toggle("abstained", answer.status === "abstained");
    this.draw();
    this.box.append(...createNotes(answer));
  }

  draw() {
    const codePoints = Array.from(this.text);
    const nodes = [];
    let position = 0;
    for (const sentence of this.sentences.filter(Boolean)) {
      if (sentence.start > position) nodes.push(...renderMarkdown(codePoints.slice(position, sentence.start).join("")));
      nodes.push(this.renderSentence(sentence, codePoints.slice(sentence.start, sentence.end).join("")));
      position = Math.max(position, sentence.end);
    }
    nodes.push(...renderMarkdown(codePoints.slice(position).join("")));
    this.textBox.replaceChildren(...nodes);
  }

  renderSentence(sentence, text) {
    const element = createElement("span", { className: `sentence ${sentence.status}` });
    const citations = sentence.citations.map((i) => this.citations[i]).filter(Boolean);
    const placedCitations = new Set();
    let position = 0;
    for (const marker of text.matchAll(/\[(\d+)\]/g)) {
      const markerCitations = citations.filter((citation) => citation.marker === Number(marker[1]));
      if (!markerCitations.length) continue;
      element.append(...renderMarkdown(text.slice(position, marker.index)));
      markerCitations.forEach((citation, i) => {
        placedCitations.add(citation);
        element.append(createChip(citation, i));
      });
      position = marker.index + marker[0].length;
    }
    element.append(...renderMarkdown(text.slice(position)));
    for (const citation of citations) if (!placedCitations.has(citation)) element.append(createChip(citation, 0));
    if (SENTENCE_FLAGS[sentence.status]) {
      element.append(createElement("span", {
        className: "flag", textContent: SENTENCE_FLAGS[sentence.status],
        title: sentence.status === "contradicted"
          ? "A source says otherwise."
          : "The sources do not support this sentence, or only part of it.",
      }));
    }
    return element;
  }
}

function createChip(citation, indexOfMarker) {
  const label = indexOfMarker ? `${citation.marker}.${indexOfMarker + 1}` : String(citation.marker);
  const page = citation.page ? `, page ${citation.page}` : "";
  const location = `${citation.title || citation.uri}${page}`;
  const chip = createElement("button", { type: "button", className: "chip", textContent: label });
  chip.title = `${location}: ${(citation.heading_context || "").slice(0, 200)}\n${citation.quote.slice(0, 200)}`;
  chip.setAttribute("aria-label", `Citation ${label}: ${location}`);
  if (!citation.verified) {
    chip.classList.add("unverified");
    chip.title = `Not verified. ${chip.title}`;
  }
  chip.addEventListener("click", () => openSource(citation, chip));
  return chip;
}

function createNotes(answer) {
  const texts = [];
  const usage = answer.usage;
  if (answer.reason) texts.push(answer.reason);
  if (usage.calls) texts.push(`${formatCount(usage.input_tokens, "token")} in, ${usage.output_tokens.toLocaleString()} out`);
  if (usage.cost_usd) texts.push(`$${usage.cost_usd.toFixed(4)}`);
  const spans = texts.map((text) => createElement("span", { textContent: text }));
  const notes = [createElement("div", { className: "notes quiet" }, ...spans)];
  if (answer.closest.length) notes.push(createClosestPassages(answer.closest));
  return notes;
}

function createClosestPassages(passages) {
  const summary = createElement("summary", { textContent: "The closest passages" });
  const details = createElement("details", { className: "closest", open: true }, summary);
  for (const passage of passages) {
    const page = passage.page ? `, page ${passage.page}` : "";
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

// Renders the Markdown that models write within a sentence: bold, code, headings, lists and rows of
// tables. All nodes hold plain text; no words are changed.
function renderMarkdown(text) {
  const nodes = [];
  for (const line of text.split(/(?<=\n)/)) {
    const heading = /^(#{1,6}) +/.exec(line);
    const bullet = /^( *)[-*+] +/.exec(line);
    if (heading) nodes.push(createElement("strong", { textContent: line.slice(heading[0].length) }));
    else if (/^ *\|.*\| *\n?$/.test(line)) nodes.push(createElement("code", { textContent: line }));
    else {
      if (bullet) nodes.push(`${bullet[1]}• `);
      const content = bullet ? line.slice(bullet[0].length) : line;
      for (const piece of content.split(/(\*\*[^*\n]+\*\*|`[^`\n]+`)/)) {
        if (piece.startsWith("**") && piece.length > 4) nodes.push(createElement("strong", { textContent: piece.slice(2, -2) }));
        else if (piece.startsWith("`") && piece.length > 2) nodes.push(createElement("code", { textContent: piece.slice(1, -1) }));
        else if (piece) nodes.push(piece);
      }
    }
  }
  return nodes;
}
