// The conversation that is shown, and the list of all conversations.

import { AnswerView } from "./answer_view.js";
import { loadDocuments } from "./documents.js";
import { byId, closeSidebar, createElement, createIconButton, showStatus } from "./dom.js";
import { currentFilter } from "./filters.js";
import { t, tCount } from "./i18n.js";
import { encodeQuery, readEvents, request, requestJson, sendJson } from "./server.js";
import { questionSettings } from "./settings.js";
import { closeSource } from "./source_panel.js";

const NAME_ITEM = "citewell-conversation";
const GENERATED_NAME = /^\d{4}-\d\d-\d\d \d\d:\d\d [0-9a-f]{1,4}$/;
const FOLLOW_DISTANCE = 200; // pixels from the end within which the view follows the answer

let currentName = null; // name of the conversation that is shown
let askController = null; // AbortController of the question that is being answered
let editedNumber = null; // number of the turn whose question is being edited
let lastOpening = 0; // number of the last conversation opened: a late response to an earlier one is ignored

export const isAsking = () => askController !== null;

export const stopAsking = () => askController?.abort();

export function resizeQuestion() {
  const box = byId("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight + 2}px`;
}

function setAskController(controller) {
  askController = controller;
  byId("send").hidden = controller !== null;
  byId("stop").hidden = controller === null;
  byId("rename-conversation").disabled = controller !== null;
}

function showEmpty() {
  byId("messages").replaceChildren(createElement("p", { className: "empty", id: "empty" }));
  loadDocuments();
}

function followAnswer() {
  const box = byId("messages");
  if (box.scrollHeight - box.scrollTop - box.clientHeight < FOLLOW_DISTANCE) box.scrollTop = box.scrollHeight;
}

function createName() {
  const minute = new Date().toISOString().slice(0, 16).replace("T", " ");
  return `${minute} ${Math.random().toString(16).slice(2, 6)}`;
}

function createQuestion(text, number) {
  const editButton = createIconButton("pencil", `${t("edit")}: ${text.slice(0, 100)}`, "icon edit");
  const box = createElement("div", { className: "question-text" }, createElement("span", { textContent: text }), editButton);
  box.dataset.number = number ?? "";
  editButton.addEventListener("click", () => editQuestion(text, Number(box.dataset.number)));
  return box;
}

function editQuestion(text, number) {
  if (isAsking() || !number) return; // a question without a number was not stored
  editedNumber = number;
  byId("question").value = text;
  resizeQuestion();
  showStatus(t("editing"));
  byId("question").focus();
}

export function cancelEdit() {
  if (editedNumber === null) return false;
  editedNumber = null;
  byId("question").value = "";
  resizeQuestion();
  showStatus("");
  return true;
}

// Removes the turns that an edited question has replaced, up to the new one.
function removeReplaced(first, newQuestion) {
  let isAfter = false;
  for (const box of [...byId("messages").children]) {
    if (box === newQuestion) return;
    isAfter ||= Number(box.dataset.number) === first;
    if (isAfter) box.remove();
  }
}

export async function ask(question) {
  byId("empty")?.remove();
  const replaces = editedNumber;
  editedNumber = null;
  currentName ??= createName();
  sessionStorage.setItem(NAME_ITEM, currentName);
  const name = currentName;
  const view = new AnswerView(followAnswer);
  const questionBox = createQuestion(question, null);
  byId("messages").append(questionBox, view.box);
  byId("messages").scrollTop = byId("messages").scrollHeight;
  showStatus("");
  setAskController(new AbortController());
  try {
    await streamAnswer({ question, conversation: name, replaces }, view);
    if (view.number) {
      questionBox.dataset.number = view.number;
      view.turn = { conversation: name, number: view.number };
    }
    if (replaces !== null) removeReplaced(replaces, questionBox);
    showStatus(view.answer.status === "abstained" ? t("no_answer") : tCount("answered", view.citations.length));
    followAnswer();
  } catch (error) {
    showFailure(error, question, questionBox, view);
  } finally {
    setAskController(null);
    if (name === currentName) loadConversations();
  }
}

async function streamAnswer(body, view) {
  const response = await request("/ask", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, where: currentFilter(), ...questionSettings() }),
    signal: askController.signal,
  });
  for await (const [event, value] of readEvents(response)) {
    if (event === "error") throw new Error(value.message);
    view.handleEvent(event, value);
  }
  if (!view.answer) throw new Error(t("connection_lost"));
}

function showFailure(error, question, questionBox, view) {
  const isStopped = error.name === "AbortError";
  view.box.classList.remove("writing");
  if (isStopped) showStatus(t("stopped"));
  else showStatus(error.code === "nothing_ingested" ? t("no_documents_short") : error.message, true);
  if (view.text) return;
  view.box.remove();
  if (!byId("question").value) {
    byId("question").value = question; // so that it can be sent again
    resizeQuestion();
    questionBox.remove();
  }
}

// A name that the page made is not shown, but the first question; one that a person gave is.
const showName = (name, question) => (GENERATED_NAME.test(name) ? question : name);

function createListItem({ name, first_question: firstQuestion }) {
  const question = showName(name, firstQuestion);
  const openButton = createElement("button", { type: "button", className: "open", textContent: question, title: firstQuestion });
  openButton.addEventListener("click", () => openConversation(name));
  const deleteButton = createElement("button", { type: "button", className: "icon", textContent: "✕" });
  deleteButton.setAttribute("aria-label", t("delete_conversation", { name: question }));
  deleteButton.addEventListener("click", () => deleteConversation(name, question));
  const item = createElement("li", {}, openButton, deleteButton);
  if (name === currentName) {
    item.classList.add("current");
    openButton.setAttribute("aria-current", "true");
  }
  return item;
}

export async function loadConversations() {
  const search = byId("search-conversations").value.trim();
  const { conversations } = await requestJson(`/conversations?${encodeQuery(search ? { search } : {})}`);
  if (search !== byId("search-conversations").value.trim()) return;
  byId("conversations").replaceChildren(...conversations.map(createListItem));
  if (search && !conversations.length) {
    byId("conversations").append(createElement("li", { className: "note quiet", textContent: t("no_conversations") }));
  }
  const currentButton = byId("conversations").querySelector(".current > .open");
  byId("current-conversation").textContent = currentButton ? currentButton.textContent : "";
  byId("conversation-actions").hidden = !currentButton;
}

async function renameConversation() {
  if (isAsking()) return; // the answer is stored under the present name
  const name = prompt(t("rename_prompt"), byId("current-conversation").textContent)?.trim();
  if (!name || name === currentName) return;
  await sendJson(`/conversation?${encodeQuery({ name: currentName })}`, "PATCH", { name });
  currentName = name;
  sessionStorage.setItem(NAME_ITEM, name);
  await loadConversations();
}

async function exportConversation(format) {
  const response = await request(`/conversation/export?${encodeQuery({ name: currentName, format })}`);
  const link = createElement("a", { href: URL.createObjectURL(await response.blob()) });
  link.download = `${byId("current-conversation").textContent.replace(/[^\p{L}\p{N} -]+/gu, "").slice(0, 60).trim() || "conversation"}.${format === "json" ? "json" : "md"}`;
  link.click();
  URL.revokeObjectURL(link.href);
}

export function listenToConversations() {
  byId("new-conversation").addEventListener("click", startConversation);
  byId("search-conversations").addEventListener("input", loadConversations);
  byId("rename-conversation").addEventListener("click", renameConversation);
  byId("export-markdown").addEventListener("click", () => exportConversation("markdown"));
  byId("export-json").addEventListener("click", () => exportConversation("json"));
}

async function openConversation(name) {
  stopAsking();
  const opening = ++lastOpening;
  const { turns } = await requestJson(`/conversation?${encodeQuery({ name })}`);
  if (opening !== lastOpening) return;
  currentName = name;
  sessionStorage.setItem(NAME_ITEM, name);
  byId("messages").replaceChildren();
  for (const turn of turns) {
    const view = new AnswerView();
    view.complete(turn.answer, { conversation: name, number: turn.number }, turn);
    byId("messages").append(createQuestion(turn.question, turn.number), view.box);
  }
  editedNumber = null;
  if (!turns.length) showEmpty();
  byId("messages").scrollTop = byId("messages").scrollHeight;
  closeSource();
  closeSidebar();
  showStatus("");
  await loadConversations();
  byId("question").focus();
}

async function deleteConversation(name, question) {
  if (!confirm(t("confirm_delete_conversation", { name: question }))) return;
  await request(`/conversation?${encodeQuery({ name })}`, { method: "DELETE" });
  if (name === currentName) startConversation();
  await loadConversations();
  (byId("conversations").querySelector("button") || byId("new-conversation")).focus();
}

export function startConversation() {
  stopAsking();
  lastOpening += 1;
  currentName = null;
  editedNumber = null;
  sessionStorage.removeItem(NAME_ITEM);
  closeSource();
  closeSidebar();
  showEmpty();
  showStatus("");
  loadConversations();
  byId("question").focus();
}

export async function restoreConversation() {
  const name = sessionStorage.getItem(NAME_ITEM);
  if (name) {
    await openConversation(name);
    await loadDocuments();
  } else {
    showEmpty();
    await loadConversations();
  }
}
