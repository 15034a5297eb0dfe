// The texts of the page, from one file per language.

import { resolveUrl } from "./server.js";

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español", zh: "中文" };
const LANGUAGE_ITEM = "citewell-language";
export const DRAFT_ITEM = "citewell-draft"; // the question that was being written

let texts = {};

export function chosenLanguage() {
  const stored = localStorage.getItem(LANGUAGE_ITEM);
  if (stored in LANGUAGES) return stored;
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((code) => code in LANGUAGES) || "en";
}

export function setLanguage(code) {
  localStorage.setItem(LANGUAGE_ITEM, code);
  sessionStorage.setItem(DRAFT_ITEM, document.getElementById("question").value);
  location.hash = "view=settings";
  location.reload();
}

let loading = null;

// Loads the texts and writes those of the page itself; a later call waits for the first.
export const loadTexts = () => loading ??= fetchTexts();

async function fetchTexts() {
  const code = chosenLanguage();
  texts = await (await fetch(resolveUrl(`/page/lang/${code}.json`))).json();
  document.documentElement.lang = code;
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", t(element.dataset.label));
    if (element.tagName === "BUTTON") element.title = t(element.dataset.label);
  }
  for (const element of document.querySelectorAll("[data-placeholder]")) element.placeholder = t(element.dataset.placeholder);
}

export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// The text for a count, of which there is one for 1.
export function tCount(key, count, values = {}) {
  return t(count === 1 && `${key}_one` in texts ? `${key}_one` : key, { count: formatNumber(count), ...values });
}

export const formatNumber = (number) => number.toLocaleString(document.documentElement.lang);

export const formatTime = (seconds) => new Date(1000 * seconds).toLocaleString(
  document.documentElement.lang, { dateStyle: "short", timeStyle: "short" });
