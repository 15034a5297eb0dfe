// Requests to the server, and the dialog that asks for an API key.

import { byId } from "./dom.js";
import { t } from "./i18n.js";

const KEY_ITEM = "citewell-key";

export class ServerError extends Error {
  constructor(status, problem) {
    super(problem?.message || t("server_status", { status }));
    this.status = status;
    this.code = problem?.code;
  }
}

export const resolveUrl = (path) => new URL(`.${path}`, document.baseURI); // the server may be mounted below a prefix

export const encodeQuery = (values) => new URLSearchParams(values).toString();

export const hasKey = () => sessionStorage.getItem(KEY_ITEM) !== null;

export function authorizationHeaders(otherHeaders = {}) {
  const key = sessionStorage.getItem(KEY_ITEM);
  return key ? { ...otherHeaders, Authorization: `Bearer ${key}` } : otherHeaders;
}

async function fetchFromServer(path, options) {
  try {
    return await fetch(resolveUrl(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(t("unreachable"));
  }
}

export async function request(path, options = {}) {
  const response = await fetchFromServer(path, { ...options, headers: authorizationHeaders(options.headers) });
  if (response.status === 401) {
    await askForKey();
    return request(path, options);
  }
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    throw new ServerError(response.status, body?.error);
  }
  return response;
}

export const requestJson = async (path, options) => (await request(path, options)).json();

export const sendJson = (path, method, body) => requestJson(path, {
  method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

export async function requestXml(path, values) {
  const response = await request(`${path}?${encodeQuery(values)}`);
  return new DOMParser().parseFromString(await response.text(), "application/xml");
}

let pendingKey = null; // one dialog for all requests that wait for a key

export function askForKey(problem = "") {
  if (pendingKey) return pendingKey;
  byId("forget-key").hidden = true;
  byId("key-problem").textContent = problem || (hasKey() ? t("key_unknown") : "");
  sessionStorage.removeItem(KEY_ITEM);
  byId("key").value = "";
  byId("key-dialog").showModal();
  pendingKey = new Promise((resolve) => {
    byId("key-dialog").addEventListener("close", () => {
      pendingKey = null;
      const key = byId("key").value.trim();
      if (key && !/^[!-~]+$/.test(key)) {
        askForKey(t("key_invalid")).then(resolve);
      } else if (key) {
        sessionStorage.setItem(KEY_ITEM, key);
        byId("forget-key").hidden = false;
        resolve();
      } else {
        askForKey().then(resolve);
      }
    }, { once: true });
  });
  return pendingKey;
}

export async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const name = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}
