// Which documents a question is asked: chosen ones, a folder, or a value of a field.

import { byId, createElement } from "./dom.js";
import { t, tCount } from "./i18n.js";

const FILE_SCHEME = "file:///";
const selectedUris = new Set();
let folder = "";
let condition = null; // { field, op, value }

export const isSelected = (uri) => selectedUris.has(uri);

export function toggleDocument(uri, isChosen) {
  if (isChosen) selectedUris.add(uri);
  else selectedUris.delete(uri);
  showFilter();
}

export function currentFilter() {
  const conditions = [];
  if (selectedUris.size) conditions.push({ uri: [...selectedUris] });
  if (folder) conditions.push({ field: "uri", op: "startswith", value: folder });
  if (condition) conditions.push(condition);
  return conditions.length ? { and: conditions } : null;
}

function parseValue(text) {
  if (text === "true" || text === "false") return text === "true";
  return /^-?\d{1,15}(\.\d+)?$/.test(text) ? Number(text) : text;
}

export function showFilter() {
  const chips = [];
  const addChip = (name, remove) => {
    const chip = createElement("button", { type: "button", className: "filter-chip", textContent: `${name} ✕` });
    chip.setAttribute("aria-label", t("remove_filter", { name }));
    chip.addEventListener("click", () => { remove(); showFilter(); byId("open-filter").focus(); });
    chips.push(chip);
  };
  if (selectedUris.size) {
    addChip(tCount("selected_documents", selectedUris.size), () => {
      selectedUris.clear();
      for (const box of document.querySelectorAll("#document-table input:checked")) box.checked = false;
    });
  }
  if (folder) addChip(decodeURIComponent(folder.replace(FILE_SCHEME, "")), () => { folder = ""; });
  if (condition) addChip(`${condition.field} ${condition.op} ${condition.value}`, () => { condition = null; });
  byId("filters").replaceChildren(...chips);
}

export function listFolders(uris) {
  const folders = new Set();
  for (const uri of uris) {
    if (!uri.startsWith(FILE_SCHEME)) continue;
    const parts = uri.split("!/")[0].split("/").slice(0, -1);
    for (let length = 4; length <= parts.length; length += 1) folders.add(`${parts.slice(0, length).join("/")}/`);
  }
  return [...folders].sort();
}

const createOption = (value, textContent) => createElement("option", { value, textContent });

export function listenToFilter(getUris, getFields) {
  byId("open-filter").addEventListener("click", () => {
    byId("filter-folder").replaceChildren(createOption("", t("all_folders")),
      ...listFolders(getUris()).map((path) => createOption(path, decodeURIComponent(path.replace(FILE_SCHEME, "")))));
    byId("filter-folder").value = folder;
    byId("filter-field").replaceChildren(createOption("", "—"), ...["title", "mime", ...getFields()].map((name) => createOption(name, name)));
    byId("filter-field").value = condition?.field || "";
    byId("filter-op").value = condition?.op || "==";
    byId("filter-value").value = condition?.value ?? "";
    byId("filter-dialog").showModal();
  });
  byId("filter-form").addEventListener("submit", (event) => {
    if (event.submitter?.value !== "apply") return;
    folder = byId("filter-folder").value;
    const field = byId("filter-field").value;
    condition = field ? { field, op: byId("filter-op").value, value: parseValue(byId("filter-value").value.trim()) } : null;
    showFilter();
  });
}
