// The chat page: starts the other modules, and handles views, keys, buttons and the color scheme.

import {
  ask, cancelEdit, isAsking, listenToConversations, resizeQuestion, restoreConversation, startConversation, stopAsking,
} from "./conversation.js";
import { documentUris, listenToDocuments } from "./documents.js";
import { byId, closeSidebar, createIcon, showStatus } from "./dom.js";
import { listenToFilter } from "./filters.js";
import { DRAFT_ITEM, loadTexts, t } from "./i18n.js";
import { hasKey } from "./server.js";
import { listenToSettings, loadSettings, metadataFields } from "./settings.js";
import { closeSource, isSourceOpen, listenToSourcePanel, openLinkedSource } from "./source_panel.js";

const THEME_ITEM = "citewell-theme";
const THEME_ICONS = { auto: "◐", light: "☀", dark: "☾" };
const VIEWS = ["chat", "documents", "settings"];

const readTheme = () => {
  const theme = localStorage.getItem(THEME_ITEM);
  return theme in THEME_ICONS ? theme : "auto";
};

function applyColors(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function setTheme(theme) {
  applyColors(theme);
  localStorage.setItem(THEME_ITEM, theme);
  const label = t("change_scheme", { scheme: t(`scheme_${theme}`) });
  byId("theme").textContent = THEME_ICONS[theme];
  byId("theme").title = label;
  byId("theme").setAttribute("aria-label", label);
}

function selectNextTheme() {
  const themes = Object.keys(THEME_ICONS);
  setTheme(themes[(themes.indexOf(readTheme()) + 1) % themes.length]);
}

// Shows what the address names: a view, or a source beside the chat.
function followAddress() {
  const values = new URLSearchParams(location.hash.slice(1));
  if (values.get("source")) {
    showView("chat");
    openLinkedSource();
  } else {
    closeSource();
    showView(VIEWS.includes(values.get("view")) ? values.get("view") : "chat");
  }
}

function openView(name) {
  const hash = name === "chat" ? "" : `#view=${name}`;
  if (location.hash !== hash) history.pushState(null, "", location.pathname + location.search + hash);
  closeSource();
  showView(name);
}

function showView(name) {
  if (byId(`view-${name}-panel`).hidden) showStatus(""); // that of the view before
  for (const view of VIEWS) {
    byId(`view-${view}-panel`).hidden = view !== name;
    const button = byId(`open-${view}`);
    if (view === name) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  closeSidebar();
  if (name === "settings") loadSettings();
  if (name === "chat") byId("question").focus();
  else byId(`view-${name}-title`).focus();
}

function listenToQuestion() {
  byId("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    await started; // a question that is sent while the page loads is asked afterwards
    const question = byId("question").value.trim();
    if (!question || isAsking()) return;
    byId("question").value = "";
    resizeQuestion();
    ask(question);
  });
  byId("question").addEventListener("input", resizeQuestion);
  byId("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("ask").requestSubmit();
    }
  });
  byId("stop").addEventListener("click", stopAsking);
}

function listenToButtons() {
  for (const view of VIEWS) byId(`open-${view}`).addEventListener("click", () => openView(view));
  byId("conversations").addEventListener("click", (event) => { if (event.target.closest(".open")) openView("chat"); });
  byId("new-conversation").addEventListener("click", () => openView("chat"));
  byId("open-sidebar").addEventListener("click", () => {
    const isShown = byId("sidebar").classList.toggle("shown");
    byId("open-sidebar").setAttribute("aria-expanded", String(isShown));
    if (isShown) byId("new-conversation").focus();
  });
  byId("forget-key").addEventListener("click", () => {
    sessionStorage.clear();
    location.reload();
  });
  byId("theme").addEventListener("click", selectNextTheme);
  byId("open-help").addEventListener("click", () => byId("help-dialog").showModal());
}

function handleEscape() {
  if (document.querySelector("dialog[open]")) return;
  if (byId("sidebar").classList.contains("shown")) {
    closeSidebar();
    byId("open-sidebar").focus();
  } else if (isSourceOpen()) closeSource();
  else if (isAsking()) stopAsking();
  else cancelEdit();
}

const SHORTCUTS = {
  "/": () => { openView("chat"); byId("question").focus(); },
  "?": () => byId("help-dialog").showModal(),
  n: () => { startConversation(); openView("chat"); },
  c: () => openView("chat"),
  d: () => openView("documents"),
  s: () => openView("settings"),
};

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") handleEscape();
    const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName || "");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const shortcut = SHORTCUTS[event.key];
    if (shortcut) {
      event.preventDefault();
      shortcut();
    }
  });
}

async function start() {
  applyColors(readTheme()); // before anything is waited for: the page does not change its colors
  // Likewise: what a reader does while the page loads is not lost.
  listenToQuestion();
  listenToButtons();
  listenToConversations();
  listenToDocuments();
  listenToFilter(documentUris, metadataFields);
  listenToSettings();
  listenToSourcePanel();
  listenToKeys();
  await loadTexts();
  for (const button of document.querySelectorAll("[data-icon]")) button.append(createIcon(button.dataset.icon));
  setTheme(readTheme());
  byId("forget-key").hidden = !hasKey();
  addEventListener("unhandledrejection", (event) => {
    showStatus(event.reason?.message || t("unexpected"), true);
  });
  await restoreConversation();
  await loadSettings();
  byId("question").value ||= sessionStorage.getItem(DRAFT_ITEM) || "";
  sessionStorage.removeItem(DRAFT_ITEM);
  resizeQuestion();
  byId("question").focus();
  if (location.hash) followAddress();
  addEventListener("popstate", followAddress);
}

const started = start();
