// The connection of the page: one socket for all rooms that it follows. It reconnects within a
// second, resumes each room after the last message and change seen, and notices a connection that
// is dead without saying so. Where no socket opens, the rooms are polled until one does.
import { poll } from "./long_poll.js";

const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 8000;
// A connection that is silent for so long is asked whether it is there, and then given up.
const SILENCE = 5000;
const ANSWER = 3000;
// Sockets that do not open one after the other, before the rooms are polled.
const MAX_FAILURES = 3;

export class Live extends EventTarget {
  #url;
  #rooms = new Map();
  #watched = new Set();
  #failures = 0;
  #socket;
  #timer;
  #silence;

  // Fires "state" when `state` changes ("connecting", "open", "polling", "lost" or "ended"),
  // "frame" for each frame, and "fail" if a socket did not open.
  constructor(url) {
    super();
    this.#url = new URL(url, location.href);
    this.#url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.state = "connecting";
    addEventListener("online", () => this.reconnect());
    addEventListener("offline", () => this.#drop());
    addEventListener("pageshow", (event) => event.persisted && this.reconnect());
    document.addEventListener("visibilitychange", () => document.hidden || this.#ask());
  }

  // Follows a room after a place. `on` is called with each frame about it, in order.
  follow(room, { api, last, change }, on) {
    const followed = { room, api, last, change, on };
    this.#rooms.set(room, followed);
    if (this.#socket?.readyState === WebSocket.OPEN) this.#subscribe(followed);
    else this.#connect();
    return () => {
      this.#rooms.delete(room);
      followed.stopPolling?.();
      if (this.#watched.has(room)) this.#watch(room);
      else this.say({ type: "unsubscribe", room });
    };
  }

  // Follows rooms of which only what comes from now on counts. Their frames fire "frame".
  watch(rooms) {
    const before = this.#watched;
    this.#watched = new Set(rooms);
    before.forEach((room) => this.#watched.has(room) || this.#rooms.has(room) || this.say({ type: "unsubscribe", room }));
    this.#watched.forEach((room) => before.has(room) || this.#watch(room));
    if (rooms.length) this.#connect();
  }

  #watch(room) {
    if (!this.#rooms.has(room)) this.say({ type: "subscribe", room });
  }

  // Sends a frame, if there is a connection; for what need not arrive.
  say(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  reconnect() {
    // A page that follows no room needs no connection.
    if (this.state === "ended" || this.#rooms.size + this.#watched.size === 0) return;
    this.#failures = 0;
    this.#drop();
    this.#connect();
  }

  // Stops for good: who uses the page may not be who opened it.
  end() {
    this.#setState("ended");
    clearTimeout(this.#timer);
    this.#discard();
    this.#stopPolling();
  }

  #setState(state) {
    if (this.state === state || this.state === "ended") return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  #connect() {
    if (this.#socket || this.state === "ended") return;
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onopen = () => {
      this.#rooms.forEach((followed) => this.#subscribe(followed));
      this.#watched.forEach((room) => this.#watch(room));
    };
    socket.onmessage = (event) => this.#take(JSON.parse(event.data));
    socket.onclose = () => this.#drop();
    // It may never open.
    this.#silence = setTimeout(() => this.#drop(), ANSWER);
  }

  #discard() {
    clearTimeout(this.#silence);
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = undefined;
  }

  #drop(connected = this.state === "open") {
    this.#discard();
    if (this.state === "ended") return;
    if (this.state !== "polling") this.#setState("lost");
    if (!connected) {
      this.#failures += 1;
      this.dispatchEvent(new Event("fail"));
      if (this.#failures >= MAX_FAILURES && navigator.onLine) this.#startPolling();
    }
    // Not all at the same moment, when many were cut off at once.
    const pause = Math.min(FIRST_PAUSE * 1.6 ** this.#failures, LONGEST_PAUSE);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), pause * (0.5 + Math.random()));
  }

  #ask() {
    if (this.#socket?.readyState !== WebSocket.OPEN) return this.reconnect();
    clearTimeout(this.#silence);
    this.say({ type: "ping" });
    this.#silence = setTimeout(() => this.#drop(), ANSWER);
  }

  #subscribe(followed) {
    const { room, last, change } = followed;
    followed.subscribed = false;
    this.say({ type: "subscribe", room, after: last, changes_after: change, html: true });
  }

  #take(frame) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#ask(), SILENCE);
    const followed = this.#rooms.get(frame.room);
    if (frame.type === "subscribed") this.#subscribed(frame, followed);
    // The store may be away, or the room asked for too often: once more, a little later.
    const refused = frame.type === "error" && followed && !followed.subscribed && !frame.nonce;
    if (refused && frame.status !== 403 && frame.status !== 404) return this.#drop(false);
    if (followed) this.#pass(followed, frame);
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  #subscribed(frame, followed) {
    if (followed || this.#rooms.size === 0) this.#failures = 0;
    this.#stopPolling();
    this.#setState("open");
    if (!followed) return;
    followed.subscribed = true;
    followed.change ??= frame.last_change;
  }

  #pass(followed, frame) {
    if (frame.type === "message") {
      if (frame.seq <= followed.last) return;
      followed.last = frame.seq;
    }
    if (frame.type === "changed") followed.change = Math.max(followed.change ?? 0, frame.change);
    if (frame.type === "resync") followed.change = frame.last_change;
    followed.on(frame);
  }

  #startPolling() {
    for (const followed of this.#rooms.values()) {
      followed.stopPolling ??= poll(followed, (frame) => {
        this.#setState("polling");
        if (frame) this.#pass(followed, frame);
      });
    }
  }

  #stopPolling() {
    for (const followed of this.#rooms.values()) {
      followed.stopPolling?.();
      followed.stopPolling = undefined;
    }
  }
}
