// The conversation that is shown, and the list of all conversations.

import { AnswerView } from "./answer_view.js";
import { byId, closeSidebar, createElement, formatCount, showStatus } from "./dom.js";
import { loadDocuments } from "./documents.js";
import { encodeQuery, readEvents, request, requestJson } from "./server.js";
import { closeSource } from "./source_panel.js";

const NAME_ITEM = "citewell-conversation";
const FOLLOW_DISTANCE = 200; // pixels from the end within which the view follows the answer

let currentName = null; // name of the conversation that is shown
let askController = null; // AbortController of the question that is being answered
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

const createQuestion = (text) => createElement("div", { className: "question-text", textContent: text });

export async function ask(question) {
  byId("empty")?.remove();
  currentName ??= createName();
  sessionStorage.setItem(NAME_ITEM, currentName);
  const name = currentName;
  const view = new AnswerView(followAnswer);
  const questionBox = createQuestion(question);
  byId("messages").append(questionBox, view.box);
  byId("messages").scrollTop = byId("messages").scrollHeight;
  showStatus("");
  setAskController(new AbortController());
  try {
    await streamAnswer(question, name, view);
    const citations = formatCount(view.citations.length, "citation");
    showStatus(view.answer.status === "abstained" ? "No answer in the sources" : `Answered, with ${citations}`);
    followAnswer();
  } catch (error) {
    showFailure(error, question, questionBox, view);
  } finally {
    setAskController(null);
    if (name === currentName) loadConversations();
  }
}

async function streamAnswer(question, conversation, view) {
  const response = await request("/ask", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ question, conversation, stream: true }),
    signal: askController.signal,
  });
  for await (const [event, value] of readEvents(response)) {
    if (event === "error") throw new Error(value.message);
    view.handleEvent(event, value);
  }
  if (!view.answer) throw new Error("The connection was lost before the answer was complete.");
}

function showFailure(error, question, questionBox, view) {
  const isStopped = error.name === "AbortError";
  view.box.classList.remove("writing");
  if (isStopped) showStatus("Stopped");
  else showStatus(error.code === "nothing_ingested" ? "No documents yet. Upload some first." : error.message, true);
  if (view.text) return;
  view.box.remove();
  if (!isStopped && !byId("question").value) {
    byId("question").value = question; // so that it can be sent again
    resizeQuestion();
    questionBox.remove();
  }
}

function createListItem({ name, first_question: question }) {
  const openButton = createElement("button", { type: "button", className: "open", textContent: question, title: question });
  openButton.addEventListener("click", () => openConversation(name));
  const deleteButton = createElement("button", { type: "button", className: "icon", textContent: "✕" });
  deleteButton.setAttribute("aria-label", `Delete the conversation: ${question}`);
  deleteButton.addEventListener("click", () => deleteConversation(name, question));
  const item = createElement("li", {}, openButton, deleteButton);
  if (name === currentName) {
    item.classList.add("current");
    openButton.setAttribute("aria-current", "true");
  }
  return item;
}

export async function loadConversations() {
  const { conversations } = await requestJson("/conversations");
  byId("conversations").replaceChildren(...conversations.map(createListItem));
  const currentButton = byId("conversations").querySelector(".current > .open");
  byId("current-conversation").textContent = currentButton ? currentButton.textContent : "";
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
    view.complete(turn.answer);
    byId("messages").append(createQuestion(turn.question), view.box);
  }
  if (!turns.length) showEmpty();
  byId("messages").scrollTop = byId("messages").scrollHeight;
  closeSource();
  closeSidebar();
  showStatus("");
  await loadConversations();
  byId("question").focus();
}

async function deleteConversation(name, question) {
  if (!confirm(`Delete the conversation “${question}”?`)) return;
  await request(`/conversation?${encodeQuery({ name })}`, { method: "DELETE" });
  if (name === currentName) startConversation();
  await loadConversations();
  (byId("conversations").querySelector("button") || byId("new-conversation")).focus();
}

export function startConversation() {
  stopAsking();
  lastOpening += 1;
  currentName = null;
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
