// Requests of the page to its server.

const TIMEOUT = 10000;

// A refusal of the server, or `status` 0 if there was no answer.
export class RequestError extends Error {
  constructor(status, detail, retryAfter = 0) {
    super(detail);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  // Tells if the same request may succeed later.
  get transient() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

export async function send(method, url, body, { keepalive = false } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    const signal = AbortSignal.timeout(TIMEOUT);
    answer = await fetch(url, { method, headers, body: body && JSON.stringify(body), signal, keepalive });
    if (answer.ok) return answer.status === 204 ? null : await answer.json();
  } catch {
    throw new RequestError(0, "");
  }
  const problem = await answer.json().catch(() => ({}));
  throw new RequestError(answer.status, problem.detail ?? answer.statusText, Number(answer.headers.get("Retry-After")) || 0);
}

// Rows that the server has drawn, oldest first.
export async function fetchRows(url, query) {
  let answer;
  try {
    answer = await fetch(`${url}?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(TIMEOUT) });
  } catch {
    throw new RequestError(0, "");
  }
  if (!answer.ok) throw new RequestError(answer.status, answer.statusText);
  return parseRows(await answer.text());
}

// Only for HTML that the server has drawn, which is sanitised.
export function parseRows(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return [...template.content.querySelectorAll("li.message")];
}

// A name for a request, which takes effect once however often it is sent.
export function newNonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
