// The connection of the page: one socket for all rooms that it follows. It reconnects within a
// second, and resumes each room after the last message and change seen. Where no socket opens, the
// rooms are polled until one does.
import { Followed } from "./followed.js";
import { LiveSocket } from "./live_socket.js";

const FIRST_PAUSE = 200;
const LONGEST_PAUSE = 8000;
// Sockets that do not open one after the other, before the rooms are polled.
const MAX_FAILURES = 3;

export class Live extends EventTarget {
  #url;
  #rooms = new Map();
  #watched = new Set();
  #failures = 0;
  #socket;
  #timer;

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

  // Follows a room after a place, which has `api`, `last` and `change`. `on` is called with each frame about it, in order.
  follow(room, place, on) {
    const followed = new Followed(room, place, on);
    this.#rooms.set(room, followed);
    if (this.#socket?.isOpen) this.say(followed.resume());
    else this.#connect();
    return () => {
      this.#rooms.delete(room);
      followed.stopPolling();
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
    if (!this.#rooms.has(room)) this.say({ type: "subscribe", room, line: true });
  }

  // Sends a frame. Returns false if there is no connection.
  say(frame) {
    return this.#socket?.send(frame) ?? false;
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
    const open = () => {
      this.#rooms.forEach((followed) => this.say(followed.resume()));
      this.#watched.forEach((room) => this.#watch(room));
    };
    this.#socket = new LiveSocket(this.#url, { open, frame: (frame) => this.#take(frame), lost: () => this.#drop() });
  }

  #discard() {
    this.#socket?.close();
    this.#socket = undefined;
  }

  #drop(connected = this.state === "open") {
    this.#discard();
    if (this.state === "ended") return;
    if (this.state !== "polling") this.#setState("lost");
    if (!connected) {
      this.#failures += 1;
      this.dispatchEvent(new Event("fail"));
      if (this.#failures >= MAX_FAILURES && navigator.onLine) this.#rooms.forEach((followed) => followed.poll(() => this.#setState("polling")));
    }
    // Not all at the same moment, when many were cut off at once.
    const pause = Math.min(FIRST_PAUSE * 1.6 ** this.#failures, LONGEST_PAUSE);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), pause * (0.5 + Math.random()));
  }

  #ask() {
    if (this.#socket?.isOpen) this.#socket.ask();
    else this.reconnect();
  }

  #take(frame) {
    const followed = this.#rooms.get(frame.room);
    if (frame.type === "subscribed") this.#subscribed(frame, followed);
    // Once more, a little later.
    if (followed?.isDelayedBy(frame)) return this.#drop(false);
    followed?.pass(frame);
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  #subscribed(frame, followed) {
    if (followed || this.#rooms.size === 0) this.#failures = 0;
    this.#stopPolling();
    this.#setState("open");
    followed?.confirm(frame);
  }

  #stopPolling() {
    this.#rooms.forEach((followed) => followed.stopPolling());
  }
}
