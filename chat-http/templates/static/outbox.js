// Messages that are not stored yet. They are sent one after the other, in the order typed, each
// with one nonce until the server has answered, and survive a reload.
import { loadAll, save } from "./storage.js";
import { newNonce, send } from "./request.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10000;
// Attempts without an answer, before the reader is told.
const QUIET = 3;
// Receives the reports of an outbox while its room is not open.
const NOBODY = { change() {}, stored() {} };
// By key. The outbox of a room that the reader left goes on sending.
const boxes = new Map();

export class Outbox {
  #prefix;
  #url;
  #user;
  #on;
  #queue = [];
  #sending;
  #timer;

  // Returns the outbox of a user in a room, which may be sending already. `on` has `change(entry)`,
  // called when an entry is new or its `problem` changes, and `stored(entry, message)`.
  static open({ prefix, user, room, api, on }) {
    const key = `chat.pending.${JSON.stringify([prefix, user, room])}/`;
    const box = boxes.get(key) ?? new Outbox(key, user, api);
    boxes.set(key, box);
    box.#on = on;
    return box;
  }

  // Stops all of them, for a page that is somebody else's now.
  static stopAll() {
    boxes.forEach((box) => box.stop());
  }

  constructor(prefix, user, api) {
    this.#prefix = prefix;
    this.#url = `${api}/messages`;
    this.#user = user;
  }

  // Shows what is queued, and takes up what an earlier page left.
  resume() {
    const left = loadAll(this.#prefix).filter(({ nonce }) => !this.#queue.some((entry) => entry.nonce === nonce));
    left.sort((a, b) => a.at - b.at);
    this.#queue.unshift(...left);
    this.#queue.forEach((entry) => this.#on.change(entry));
    this.#pump();
  }

  // The room is left: what is queued is sent all the same.
  close() {
    this.#on = NOBODY;
  }

  // Sends nothing more. What is queued is kept for a later page.
  stop() {
    clearTimeout(this.#timer);
    this.#queue = [];
    this.#on = NOBODY;
    boxes.delete(this.#prefix);
  }

  // The entry that the server is storing, if any.
  get sending() {
    return this.#sending;
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
    this.#sending = entry;
    try {
      const { text, nonce, replyTo } = entry;
      const body = { text, nonce, sender: this.#user, ...(replyTo && { reply_to: replyTo }) };
      const message = await send("POST", this.#url, body, { keepalive: true });
      this.#stored(entry, message);
    } catch (error) {
      this.#failed(entry, error);
    }
    this.#sending = undefined;
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
