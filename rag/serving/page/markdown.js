// Renders the Markdown of answers: tables, lists, headings, code and formulas. Text of documents and models is set as
// text, never as markup. No word is changed: what is shown is what was checked.

import { createElement } from "./dom.js";
import { requestXml } from "./server.js";

const INLINE = /(\*\*[^*\n]+\*\*|`[^`\n]+`|\\\([^\n]{1,500}?\\\)|\$\$[^$\n]{1,500}\$\$|(?<!\$)\$(?![\s$])[^$\n]{1,500}?\$(?![\d$]))/;
const TABLE_ROW = /^ *\|.*\| *$/;
const TABLE_RULE = /^ *\|[\s:|-]+\| *$/;
const formulas = new Map(); // the request for each formula

// Splits a text into blocks: { kind: "table" | "code" | "formula" | "text", start, end, lines }. Offsets are code points.
export function splitBlocks(codePoints) {
  const lines = [];
  let start = 0;
  codePoints.forEach((character, i) => {
    if (character === "\n") { lines.push([start, i + 1]); start = i + 1; }
  });
  if (start < codePoints.length) lines.push([start, codePoints.length]);
  const textOf = ([from, to]) => codePoints.slice(from, to).join("").replace(/\n$/, "");
  const blocks = [];
  for (let i = 0; i < lines.length;) {
    const line = textOf(lines[i]);
    let end = i + 1;
    let kind = "text";
    if (/^ {0,3}(```|~~~)/.test(line)) {
      kind = "code";
      const fence = line.trim().slice(0, 3);
      while (end < lines.length && !textOf(lines[end]).trim().startsWith(fence)) end += 1;
      end = Math.min(end + 1, lines.length);
    } else if (/^ *\$\$(?!.*\$\$ *\S)/.test(line)) {
      kind = "formula";
      if (!/\$\$ *$/.test(line.trim().slice(2))) {
        while (end < lines.length && !/\$\$ *$/.test(textOf(lines[end]))) end += 1;
        end = Math.min(end + 1, lines.length);
      }
    } else if (TABLE_ROW.test(line) && i + 1 < lines.length && TABLE_RULE.test(textOf(lines[i + 1]))) {
      kind = "table";
      while (end < lines.length && TABLE_ROW.test(textOf(lines[end]))) end += 1;
    } else {
      const startsBlock = (j) => /^ {0,3}(```|~~~)|^ *\$\$(?!.*\$\$ *\S)/.test(textOf(lines[j]))
        || (TABLE_ROW.test(textOf(lines[j])) && j + 1 < lines.length && TABLE_RULE.test(textOf(lines[j + 1])));
      while (end < lines.length && !startsBlock(end)) end += 1;
    }
    blocks.push({ kind, start: lines[i][0], end: lines[end - 1][1], lines: lines.slice(i, end) });
    i = end;
  }
  return blocks;
}

// Draws a table; `renderSpan(start, end)` returns the nodes of a part of the text.
export function createTable(block, codePoints, renderSpan) {
  const table = createElement("table");
  block.lines.forEach((line, number) => {
    if (number === 1) return;
    const row = createElement("tr");
    for (const [start, end] of splitCells(line, codePoints)) {
      row.append(createElement(number ? "td" : "th", {}, ...renderSpan(start, end)));
    }
    table.append(row);
  });
  return createElement("div", { className: "table-box", tabIndex: 0 }, table);
}

function splitCells([start, end], codePoints) {
  const borders = [];
  for (let i = start; i < end; i += 1) if (codePoints[i] === "|" && codePoints[i - 1] !== "\\") borders.push(i);
  return borders.slice(0, -1).map((border, i) => {
    let [from, to] = [border + 1, borders[i + 1]];
    while (from < to && codePoints[from] === " ") from += 1;
    while (to > from && codePoints[to - 1] === " ") to -= 1;
    return [from, to];
  });
}

export function createCode(block, codePoints) {
  const inner = block.lines.slice(1, /^ {0,3}(```|~~~)/.test(codePoints.slice(...block.lines.at(-1)).join("")) && block.lines.length > 1 ? -1 : undefined);
  const text = inner.length ? codePoints.slice(inner[0][0], inner.at(-1)[1]).join("") : "";
  return createElement("pre", { className: "code", tabIndex: 0 }, createElement("code", { textContent: text }));
}

export function createFormula(text, isBlock) {
  const tex = text.trim().replace(/^(\$\$|\$|\\\(|\\\[)/, "").replace(/(\$\$|\$|\\\)|\\\])$/, "").trim();
  const element = createElement(isBlock ? "div" : "span", { className: "formula" }, createElement("code", { textContent: text.trim() }));
  if (tex) drawFormula(element, tex, isBlock);
  return element;
}

async function drawFormula(element, tex, isBlock) {
  const key = `${isBlock} ${tex}`;
  if (!formulas.has(key)) formulas.set(key, requestXml("/math", { tex, is_block: isBlock }).catch(() => null));
  const xml = await formulas.get(key);
  if (xml) element.replaceChildren(document.importNode(xml.documentElement, true)); // only MathML: the server sees to it
}

const isFormula = (piece) => piece.startsWith("\\(") || piece.startsWith("$$") || (piece.startsWith("$") && /[a-zA-Z\\^_=]/.test(piece.slice(1, -1)) && !/\s\$$/.test(piece));

// Renders text within a sentence: bold, code, formulas, and the marks of headings and lists.
export function renderInline(text) {
  const nodes = [];
  for (const line of text.split(/(?<=\n)/)) {
    const heading = /^(#{1,6}) +/.exec(line);
    const bullet = /^( *)[-*+] +/.exec(line);
    if (heading) nodes.push(createElement("strong", { textContent: line.slice(heading[0].length) }));
    else {
      if (bullet) nodes.push(`${bullet[1]}• `);
      const content = bullet ? line.slice(bullet[0].length) : line;
      content.split(INLINE).forEach((piece, i) => {
        const isMarkup = i % 2 === 1; // a match of INLINE
        if (isMarkup && piece.startsWith("**")) nodes.push(createElement("strong", { textContent: piece.slice(2, -2) }));
        else if (isMarkup && piece.startsWith("`")) nodes.push(createElement("code", { textContent: piece.slice(1, -1) }));
        else if (isMarkup && isFormula(piece)) nodes.push(createFormula(piece, false));
        else if (piece) nodes.push(piece);
      });
    }
  }
  return nodes;
}
