// Messages that are not stored yet. They are sent one after the other, in the order typed, each
// with one nonce until the server has answered, and survive a reload.
import { loadAll, save } from "./storage.js";
import { send } from "./request.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10000;
// Attempts without an answer, before the reader is told.
const QUIET = 3;

export class Outbox {
  #prefix;
  #url;
  #user;
  #on;
  #queue = [];
  #sending = false;
  #timer;

  // `on` has `change(entry)`, called when an entry is new or its `problem` changes, and
  // `stored(entry, message)`.
  constructor({ user, room, api, on }) {
    this.#prefix = `chat.pending.${user}.${room}/`;
    this.#url = `${api}/messages`;
    this.#user = user;
    this.#on = on;
  }

  // Takes up what an earlier page left.
  resume() {
    const left = loadAll(this.#prefix).filter(({ nonce }) => !this.#queue.some((entry) => entry.nonce === nonce));
    left.sort((a, b) => a.at - b.at);
    this.#queue.unshift(...left);
    left.forEach((entry) => this.#on.change(entry));
    this.#pump();
  }

  close() {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  // The entry that the server is storing, if any.
  get sending() {
    return this.#sending ? this.#queue.find((entry) => !entry.refused) : undefined;
  }

  get isEmpty() {
    return this.#queue.length === 0;
  }

  add(text, replyTo) {
    const entry = { nonce: newNonce(), text, replyTo, at: Date.now() + this.#queue.length / 1000 };
    this.#queue.push(entry);
    this.#keep(entry);
    this.#on.change(entry);
    this.#pump();
  }

  // Sends at once what is waiting for its next attempt; there is a connection again.
  hurry() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#pump();
  }

  retry(nonce) {
    const entry = this.#queue.find((waiting) => waiting.nonce === nonce);
    if (!entry) return;
    Object.assign(entry, { problem: undefined, refused: false, attempts: 0 });
    this.#keep(entry);
    this.#on.change(entry);
    this.hurry();
  }

  discard(nonce) {
    this.#queue = this.#queue.filter((entry) => entry.nonce !== nonce);
    save(this.#prefix + nonce, null);
    this.hurry();
  }

  #keep(entry) {
    save(this.#prefix + entry.nonce, entry);
  }

  async #pump() {
    if (this.#sending || this.#timer) return;
    const entry = this.#queue.find((waiting) => !waiting.refused);
    if (!entry) return;
    this.#sending = true;
    try {
      const { text, nonce, replyTo } = entry;
      const body = { text, nonce, sender: this.#user, ...(replyTo && { reply_to: replyTo }) };
      const message = await send("POST", this.#url, body, { keepalive: true });
      this.#stored(entry, message);
    } catch (error) {
      this.#failed(entry, error);
    }
    this.#sending = false;
    this.#pump();
  }

  #stored(entry, message) {
    this.#queue = this.#queue.filter((waiting) => waiting !== entry);
    save(this.#prefix + entry.nonce, null);
    this.#on.stored(entry, message);
  }

  #failed(entry, error) {
    if (!this.#queue.includes(entry)) return;
    entry.attempts = (entry.attempts ?? 0) + 1;
    if (error.transient) {
      const pause = Math.min(FIRST_PAUSE * 2 ** (entry.attempts - 1), LONGEST_PAUSE) * (0.5 + Math.random());
      this.#timer = setTimeout(() => this.hurry(), Math.max(pause, error.retryAfter * 1000));
      if (entry.attempts < QUIET) return;
    }
    entry.refused = !error.transient;
    entry.problem = { status: error.status, detail: error.message };
    this.#keep(entry);
    this.#on.change(entry);
  }
}

function newNonce() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
