// The chat page: starts the other modules, and handles keys, buttons and the color scheme.

import { ask, isAsking, resizeQuestion, restoreConversation, startConversation, stopAsking } from "./conversation.js";
import { uploadFiles } from "./documents.js";
import { byId, closeSidebar, showStatus } from "./dom.js";
import { hasKey } from "./server.js";
import { closeSource, isSourceOpen, listenToSourcePanel } from "./source_panel.js";

const THEME_ITEM = "citewell-theme";
const THEME_ICONS = { auto: "◐", light: "☀", dark: "☾" };

const readTheme = () => {
  const theme = localStorage.getItem(THEME_ITEM);
  return theme in THEME_ICONS ? theme : "auto";
};

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME_ITEM, theme);
  byId("theme").textContent = THEME_ICONS[theme];
  byId("theme").title = `Color scheme: ${theme}`;
  byId("theme").setAttribute("aria-label", `Color scheme: ${theme}. Change it.`);
}

function selectNextTheme() {
  const themes = Object.keys(THEME_ICONS);
  setTheme(themes[(themes.indexOf(readTheme()) + 1) % themes.length]);
}

function listenToQuestion() {
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
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

function listenToSidebar() {
  byId("new-conversation").addEventListener("click", startConversation);
  byId("add-files").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", () => {
    uploadFiles([...byId("files").files]);
    byId("files").value = "";
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    uploadFiles([...event.dataTransfer.files]);
  });
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
}

function handleEscape() {
  if (byId("key-dialog").open) return;
  if (byId("sidebar").classList.contains("shown")) {
    closeSidebar();
    byId("open-sidebar").focus();
  } else if (isSourceOpen()) closeSource();
  else stopAsking();
}

function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") handleEscape();
    const isTyping = /^(INPUT|TEXTAREA)$/.test(document.activeElement?.tagName || "");
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("question").focus();
    }
  });
}

async function start() {
  setTheme(readTheme());
  byId("forget-key").hidden = !hasKey();
  listenToQuestion();
  listenToSidebar();
  listenToSourcePanel();
  listenToKeys();
  addEventListener("unhandledrejection", (event) => {
    showStatus(event.reason?.message || "Unexpected error", true);
  });
  await restoreConversation();
  byId("question").focus();
}

start();
