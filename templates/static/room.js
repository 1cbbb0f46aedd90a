// Shows a room as it goes on, and sends without a reload.
import { Live } from "./live.js";

const list = document.getElementById("messages");
const status = document.getElementById("status");
const present = document.getElementById("present");
const typing = document.getElementById("typing");
const error = document.getElementById("error");
const form = document.getElementById("post");
const { room, user } = list.dataset;
const owns = list.dataset.owns === "true";
const verified = list.dataset.verified === "true";
// How long somebody who typed counts as typing, and how often we say that we do.
const TYPING = 5000;
const SAY_TYPING = 3000;
// How often we say how far we have read.
const SAY_READ = 1000;
const MOST_NAMES = 20;

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

function deleteForm(seq) {
  const form = document.createElement("form");
  form.className = "delete";
  form.append(element("button", "Delete"));
  form.dataset.seq = seq;
  return form;
}

function show(message) {
  const item = document.createElement("li");
  item.dataset.seq = message.seq;
  const time = document.createElement("time");
  time.dateTime = message.timestamp;
  localTime(time);
  const follow = atEnd();
  if (message.deleted) {
    item.className = "deleted";
    item.append(time, element("p", "deleted"));
  } else {
    item.append(element("span", message.sender, "by"), " ");
    if (!message.verified) item.append(element("small", "guest", "guest"), " ");
    item.append(time, element("p", message.text));
    if (owns || (verified && message.verified && message.sender === user)) item.append(deleteForm(message.seq));
    stopTyping(message.sender);
  }
  list.append(item);
  if (follow) toEnd();
}

function blank(seq) {
  const item = list.querySelector(`li[data-seq="${Number(seq)}"]`);
  if (!item || item.classList.contains("deleted")) return;
  item.className = "deleted";
  item.replaceChildren(item.querySelector("time"), element("p", "deleted"));
}

// Shows a message as it is now, in place of what it was.
function update(message) {
  if (message.deleted) return blank(message.seq);
  const text = list.querySelector(`li[data-seq="${Number(message.seq)}"]:not(.deleted) p`);
  if (text) text.textContent = message.text;
}

// Changes were missed that are not kept: the messages shown are read again.
async function readAgain() {
  const shown = [...list.children].map((item) => Number(item.dataset.seq));
  if (shown.length === 0) return;
  const [first, last] = [shown[0], shown[shown.length - 1]];
  for (let after = first - 1; after < last;) {
    const answer = await fetch(`${list.dataset.api}?${new URLSearchParams({ after, limit: 200 })}`);
    const messages = answer.ok ? await answer.json() : [];
    if (messages.length === 0) return;
    messages.forEach(update);
    after = messages[messages.length - 1].seq;
  }
}

const readSafely = () => readAgain().catch(() => {});

// Without a reload. A form from the server works without this too.
async function remove(event) {
  const form = event.target.closest("form.delete");
  if (!form) return;
  event.preventDefault();
  const seq = form.dataset.seq ?? form.elements.seq.value;
  try {
    const answer = await fetch(`${list.dataset.api}/${seq}`, { method: "DELETE" });
    if (answer.ok) return blank(seq);
    const problem = await answer.json().catch(() => ({}));
    refuse(problem.detail ?? "The message was not deleted.");
  } catch {
    refuse("The server cannot be reached. The message was not deleted; try again.");
  }
}

const typists = new Map();

function showTypists() {
  const names = [...typists.keys()];
  const who = names.length > 3 ? `${names.length} people` : names.join(", ");
  typing.textContent = names.length > 0 ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

function stopTyping(username) {
  clearTimeout(typists.get(username));
  typists.delete(username);
  showTypists();
}

function startTyping(username) {
  clearTimeout(typists.get(username));
  typists.set(username, setTimeout(stopTyping, TYPING, username));
  showTypists();
}

function showPresent(users) {
  const names = users.slice(0, MOST_NAMES).join(", ");
  const more = users.length > MOST_NAMES ? ` and ${users.length - MOST_NAMES} more` : "";
  present.textContent = users.length > 0 ? `Here now: ${names}${more}` : "";
}

function take(frame) {
  switch (frame.type) {
    case "message": show(frame); break;
    case "presence": showPresent(frame.users); break;
    case "typing": startTyping(frame.username); break;
    case "changed": update(frame); break;
    // Everyone may be told of it at the same moment.
    case "resync": setTimeout(readSafely, Math.random() * 5000); break;
    case "error": refuse(frame.detail); break;
  }
  markRead();
}

function showStatus(way) {
  status.dataset.by = way;
  status.textContent = way ? "" : "Reconnecting…";
  if (way !== "socket") {
    showPresent([]);
    [...typists.keys()].forEach(stopTyping);
  }
}

let live;
let read = 0;
let readSaid = -Infinity;
let readTimer;

const hasRead = () => live && user && !document.hidden && live.last > read && status.dataset.by === "socket";

function markRead() {
  if (readTimer || !hasRead()) return;
  readTimer = setTimeout(sayRead, Math.max(0, readSaid + SAY_READ - performance.now()));
}

function sayRead() {
  readTimer = undefined;
  if (!hasRead()) return;
  readSaid = performance.now();
  read = live.last;
  live.say({ type: "read", seq: read });
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

list.addEventListener("submit", remove);
list.querySelectorAll("time").forEach(localTime);
toEnd();
if (list.dataset.live === "true") {
  const socket = new URL(list.dataset.socket, location.href);
  socket.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const { events, changes, api: messages } = list.dataset;
  const [last, change] = [Number(list.dataset.last), Number(list.dataset.change)];
  live = new Live({ room, socket, events, messages, changes, last, change, on: take, status: showStatus });
  document.addEventListener("visibilitychange", markRead);
}
if (form) {
  let said = 0;
  form.addEventListener("submit", send);
  form.elements.text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) send(event);
  });
  form.elements.text.addEventListener("input", () => {
    if (!live || form.elements.text.value === "" || Date.now() - said < SAY_TYPING) return;
    said = Date.now();
    live.say({ type: "typing" });
  });
}
