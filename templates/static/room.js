"use strict";
// Shows new messages by asking for those since the last one shown, and sends without a reload.
// The server gives the oldest of what is newer, so asking again with the last one skips nothing.
(() => {
  const list = document.getElementById("messages");
  const status = document.getElementById("status");
  const error = document.getElementById("error");
  const form = document.getElementById("post");
  const PAGE = 200;
  const INTERVAL = 1500;
  const LONGEST = 30000;

  let since = list.dataset.since;
  let last = Number(list.lastElementChild?.dataset.seq ?? 0);
  let wait = INTERVAL;
  let timer;

  const atEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const toEnd = () => { list.scrollTop = list.scrollHeight; };

  function localTime(element) {
    const time = new Date(element.dateTime);
    if (!Number.isNaN(time.valueOf())) {
      element.textContent = time.toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    }
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function show(message) {
    if (message.seq <= last) return;
    const item = document.createElement("li");
    item.dataset.seq = message.seq;
    const time = document.createElement("time");
    time.dateTime = message.timestamp;
    localTime(time);
    item.append(element("span", message.sender, "by"), " ");
    if (!message.verified) item.append(element("small", "guest", "guest"), " ");
    item.append(time, element("p", message.text));
    list.append(item);
    last = message.seq;
    since = message.timestamp;
  }

  async function poll() {
    clearTimeout(timer);
    let more = false;
    try {
      const query = new URLSearchParams({ since, limit: PAGE });
      const answer = await fetch(`${list.dataset.api}?${query}`);
      if (!answer.ok) throw new Error(answer.statusText);
      const messages = await answer.json();
      const follow = atEnd();
      messages.forEach(show);
      if (follow && messages.length > 0) toEnd();
      more = messages.length === PAGE;
      wait = INTERVAL;
      status.textContent = "";
    } catch {
      wait = Math.min(wait * 2, LONGEST);
      status.textContent = "Reconnecting…";
    }
    clearTimeout(timer);
    timer = setTimeout(poll, more ? 0 : wait);
  }

  function newNonce() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  function refuse(detail) {
    error.textContent = detail;
    error.hidden = !detail;
  }

  // One nonce until the server has answered for it: however often a text is sent, it is one message.
  let nonce = newNonce();

  async function send(event) {
    event.preventDefault();
    const field = form.elements.text;
    const button = form.querySelector("button");
    const text = field.value;
    if (button.disabled || text.trim() === "") return;
    button.disabled = true;
    try {
      const answer = await fetch(list.dataset.api, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ text, nonce }),
      });
      if (answer.ok) {
        nonce = newNonce();
        if (field.value === text) field.value = "";
        refuse("");
        toEnd();
        poll();
      } else {
        const problem = await answer.json().catch(() => ({}));
        // What is refused for its text will be another message when it is sent again.
        if (answer.status < 500) nonce = newNonce();
        refuse(problem.detail ?? "The message was not sent.");
      }
    } catch {
      refuse("The server cannot be reached. The message was not sent; try again.");
    } finally {
      button.disabled = false;
      field.focus();
    }
  }

  list.querySelectorAll("time").forEach(localTime);
  toEnd();
  if (list.dataset.live === "true") {
    document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
    poll();
  }
  if (form) {
    form.addEventListener("submit", send);
    form.elements.text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
    });
  }
})();
