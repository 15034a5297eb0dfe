"use strict";
// The OpenAPI document as a page. Everything is set as text, never as markup.

function make(tag, text, name) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (name) made.className = name;
  return made;
}

// A paragraph with its `code` as such.
function words(tag, text) {
  const made = make(tag);
  text.split(/``?([^`]+)``?/).forEach((part, i) => made.append(i % 2 ? make("code", part) : part));
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const either = schema.anyOf || schema.oneOf;
  if (either) return either.map(typeOf).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${typeOf(schema.items) || "any"}[]`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
}

function table(rows) {
  const made = make("table");
  for (const cells of rows) {
    const row = made.insertRow();
    for (const cell of cells) row.insertCell().textContent = cell;
  }
  return made;
}

function fields(schema) {
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).map(([name, field]) => [
    required.has(name) ? name : `${name} ?`, typeOf(field), field.description || "",
  ]);
}

function operation(path, method, said) {
  const section = make("section");
  const title = make("h3");
  title.append(make("span", method.toUpperCase(), "method"), make("code", path));
  section.append(title, words("p", said.description || said.summary || ""));
  const given = (said.parameters || []).map((p) => [
    p.required ? p.name : `${p.name} ?`, `${typeOf(p.schema)} in ${p.in}`, p.description || "",
  ]);
  if (given.length) section.append(make("h4", "Parameters"), table(given));
  for (const [type, body] of Object.entries(said.requestBody?.content || {})) {
    section.append(make("p", `Body: ${typeOf(body.schema)} as ${type}`));
  }
  const statuses = Object.entries(said.responses || {}).filter(([status]) => status < 300);
  for (const [status, response] of statuses) {
    const kinds = Object.entries(response.content || {}).map(
      ([type, body]) => `${typeOf(body.schema) || "bytes"} as ${type}`);
    section.append(make("p", `${status}: ${kinds.join(", or ") || response.description}`));
  }
  return section;
}

async function main() {
  const docs = document.getElementById("docs");
  const api = await (await fetch("openapi.json")).json();
  for (const line of (api.info.description || "").split("\n")) if (line) docs.append(words("p", line));
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, said] of Object.entries(methods)) docs.append(operation(path, method, said));
  }
  docs.append(make("h2", "Types"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const section = make("section");
    section.append(make("h3", name), words("p", schema.description || ""), table(fields(schema)));
    docs.append(section);
  }
}

main();
