// Helpers for the elements of the page. Text of documents, models and people is always set as text, never as markup.

export const byId = (id) => document.getElementById(id);

export function createElement(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";
const ICON_PATHS = {
  up: "M7 11v9H4v-9zm0 0 4-8c1.7 0 2.5 1 2.2 2.7L12.5 9H19c1.3 0 2 1 1.7 2.2l-1.6 7A2.4 2.4 0 0 1 16.8 20H7",
  down: "M17 13V4h3v9zm0 0-4 8c-1.7 0-2.5-1-2.2-2.7l.7-3.3H5c-1.3 0-2-1-1.7-2.2l1.6-7A2.4 2.4 0 0 1 7.2 4H17",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zm0 8v6m0-9.5v.5",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1m2 4a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  pencil: "m4 20 1-4L16 5l3 3L8 19zm10-13 3 3",
};

export function createIcon(name) {
  const icon = document.createElementNS(SVG, "svg");
  icon.setAttribute("viewBox", "0 0 24 24");
  icon.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICON_PATHS[name]);
  icon.append(path);
  return icon;
}

export function createIconButton(name, label, className = "icon") {
  const button = createElement("button", { type: "button", className, title: label }, createIcon(name));
  button.setAttribute("aria-label", label);
  return button;
}

export function showStatus(text, isError = false) {
  for (const status of document.querySelectorAll("[role=status]")) { // one in each view
    status.textContent = text;
    status.classList.toggle("error", isError);
  }
}

export function closeSidebar() {
  byId("sidebar").classList.remove("shown");
  byId("open-sidebar").setAttribute("aria-expanded", "false");
}
