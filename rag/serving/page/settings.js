// The settings: model, number of passages, language, color scheme, and what the server is made of.

import { byId, createElement } from "./dom.js";
import { chosenLanguage, LANGUAGES, setLanguage, t } from "./i18n.js";
import { requestJson } from "./server.js";

const MODEL_ITEM = "citewell-model";
const HITS_ITEM = "citewell-k";

let server = null; // the reply of /settings

export const metadataFields = () => server?.fields || [];

// The settings that a question is sent with.
export function questionSettings() {
  const settings = {};
  const model = sessionStorage.getItem(MODEL_ITEM);
  if (model && server?.models.includes(model)) settings.model = model;
  const k = Number(sessionStorage.getItem(HITS_ITEM));
  if (k && server && k !== server.k) settings.k = k;
  return settings;
}

const createOption = (value, textContent) => createElement("option", { value, textContent });

export async function loadSettings() {
  server = await requestJson("/settings");
  const models = byId("setting-model");
  const nameOf = (model) => (model === "none" ? t("quotes_only") : model);
  models.replaceChildren(createOption("", `${t("default_model")} (${server.model || t("quotes_only")})`),
    ...server.models.map((model) => createOption(model, nameOf(model))));
  models.value = questionSettings().model || "";
  models.disabled = !server.models.length;
  byId("setting-k").max = server.max_k;
  byId("setting-k").value = questionSettings().k || server.k;
  const facts = {
    version: server.version, namespace: server.namespace, generator: [server.generator, server.model].filter(Boolean).join(", "),
    embedder: server.embedder, retriever: server.retriever, postprocessors: server.postprocessors.join(", "),
  };
  byId("server-facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value).flatMap(
    ([key, value]) => [createElement("dt", { textContent: t(key) }), createElement("dd", { textContent: value })]));
}

export function listenToSettings() {
  byId("setting-language").replaceChildren(...Object.entries(LANGUAGES).map(([code, name]) => createOption(code, name)));
  byId("setting-language").value = chosenLanguage();
  byId("setting-language").addEventListener("change", () => setLanguage(byId("setting-language").value));
  byId("setting-model").addEventListener("change", () => sessionStorage.setItem(MODEL_ITEM, byId("setting-model").value));
  byId("setting-k").addEventListener("change", () => {
    const box = byId("setting-k");
    if (box.checkValidity()) sessionStorage.setItem(HITS_ITEM, box.value);
    else box.reportValidity();
  });
}
