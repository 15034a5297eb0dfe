// The API reference, rendered from openapi.json. All text is set as text, never as markup.

import { byId, createElement } from "./dom.js";

const createText = (tag, text, className = "") => createElement(tag, { textContent: text, className });

// Returns an element with the `code` of a text in code elements.
function renderCode(tag, text) {
  const element = createElement(tag);
  text.split(/``?([^`]+)``?/).forEach((part, i) => element.append(i % 2 ? createText("code", part) : part));
  return element;
}

function describeType(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const alternatives = schema.anyOf || schema.oneOf;
  if (alternatives) return alternatives.map(describeType).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `${describeType(schema.items) || "any"}[]`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
}

const optionalName = (name, isRequired) => (isRequired ? name : `${name} ?`);

function createTable(rows) {
  const table = createElement("table");
  for (const cells of rows) {
    const row = table.insertRow();
    for (const cell of cells) row.insertCell().textContent = cell;
  }
  return table;
}

function describeFields(schema) {
  const requiredNames = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).map(([name, field]) => [
    optionalName(name, requiredNames.has(name)), describeType(field), field.description || "",
  ]);
}

function createOperation(path, method, operation) {
  const section = createElement("section");
  const title = createElement("h2", {}, createText("span", method.toUpperCase(), "method"), createText("code", path));
  section.append(title, renderCode("p", operation.description || operation.summary || ""));
  const parameters = (operation.parameters || []).map((parameter) => [
    optionalName(parameter.name, parameter.required),
    `${describeType(parameter.schema)} in ${parameter.in}`,
    parameter.description || "",
  ]);
  if (parameters.length) section.append(createText("h3", "Parameters"), createTable(parameters));
  for (const [mediaType, body] of Object.entries(operation.requestBody?.content || {})) {
    section.append(createText("p", `Body: ${describeType(body.schema)} as ${mediaType}`));
  }
  for (const [status, response] of Object.entries(operation.responses || {})) {
    if (status >= 300) continue;
    const contents = Object.entries(response.content || {}).map(
      ([mediaType, body]) => `${describeType(body.schema) || "bytes"} as ${mediaType}`);
    section.append(createText("p", `${status}: ${contents.join(", or ") || response.description}`));
  }
  return section;
}

async function start() {
  const docs = byId("docs");
  const api = await (await fetch("openapi.json")).json();
  for (const line of (api.info.description || "").split("\n")) if (line) docs.append(renderCode("p", line));
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) docs.append(createOperation(path, method, operation));
  }
  docs.append(createText("h2", "Types"));
  for (const [name, schema] of Object.entries(api.components.schemas)) {
    const description = renderCode("p", schema.description || "");
    docs.append(createElement("section", {}, createText("h3", name), description, createTable(describeFields(schema))));
  }
}

start();
