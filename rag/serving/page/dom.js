// Helpers for the elements of the page. Text of documents, models and people is always set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function createElement(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const formatCount = (count, noun) => `${count.toLocaleString()} ${noun}${count === 1 ? "" : "s"}`;

export function showStatus(text, isError = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("error", isError);
}

export function closeSidebar() {
  byId("sidebar").classList.remove("shown");
  byId("open-sidebar").setAttribute("aria-expanded", "false");
}
