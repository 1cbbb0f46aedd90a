// Follows one room: by a socket, else by an event stream, else by asking again and again. Whatever
// it is, it goes on after the last message and the last change seen, so nothing is missed.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30000;
// A way that failed this often in a row gives way to the next one.
const TRIES = 2;
// How long a socket may take to answer when it is asked whether it is still there.
const PATIENCE = 5000;
// After this long the best way is tried again.
const BETTER = 300000;
const PAGE = 200;
const WAIT = 25;

export class Live {
  // `socket`, `events`, `messages` and `changes` are addresses; `last` is the seq to go on after, and
  // `change` the change. `on` is called with each frame of the contract, `status` with "socket",
  // "events", "poll" or "".
  constructor({ room, socket, events, messages, changes, last, change, on, status }) {
    Object.assign(this, { room, socket, events, messages, changes, last, change, on, status });
    this.ways = [
      "WebSocket" in window && this.#bySocket,
      "EventSource" in window && this.#byEvents,
      this.#byPolling,
    ].filter(Boolean);
    this.attempt = 0;
    // Changed messages that are not shown yet: polls for messages and for changes overtake each other.
    this.ahead = new Map();
    window.addEventListener("online", () => this.#check());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#check(); });
    setInterval(() => { if (this.way > 0) this.#begin(); }, BETTER);
    this.#begin();
  }

  // Says something on the socket, if there is one; what is not said is not missed.
  say(frame) {
    if (this.open?.readyState === WebSocket.OPEN) this.open.send(JSON.stringify({ room: this.room, ...frame }));
  }

  #begin() {
    this.way = 0;
    this.tries = 0;
    this.pause = FIRST_PAUSE;
    this.#connect();
  }

  #connect() {
    clearTimeout(this.timer);
    clearTimeout(this.doubt);
    this.close?.();
    // What an earlier attempt still calls back is not for this one.
    const attempt = ++this.attempt;
    const current = (call) => (...given) => { if (attempt === this.attempt) call(...given); };
    const works = current((name) => {
      this.tries = 0;
      this.pause = FIRST_PAUSE;
      this.status(name);
    });
    const fails = current(() => {
      this.attempt += 1;
      this.status("");
      this.tries += 1;
      if (this.tries >= TRIES && this.way < this.ways.length - 1) {
        this.way += 1;
        this.tries = 0;
      }
      // Not all at the same moment, when many were cut off at once.
      this.timer = setTimeout(() => this.#connect(), this.pause * (0.5 + Math.random()));
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
    });
    const take = current((message) => {
      if (message.seq <= this.last) return;
      this.last = message.seq;
      const changed = this.ahead.get(message.seq);
      this.ahead.delete(message.seq);
      const newest = (changed?.change ?? 0) > (message.change ?? 0) ? changed : message;
      this.on({ ...newest, type: "message" });
    });
    const takeChanged = current((message) => {
      this.change = Math.max(this.change ?? 0, message.change);
      if (message.seq > this.last) this.ahead.set(message.seq, message);
      else this.on({ ...message, type: "changed" });
    });
    // What was missed is not kept: the page reads again what it shows, and goes on from now.
    const resync = current(() => {
      this.change = undefined;
      this.on({ type: "resync" });
    });
    this.close = this.ways[this.way].call(this, { works, fails, take, takeChanged, resync, current });
  }

  // After sleep, or on another network, a connection may be dead without knowing.
  #check() {
    if (this.open?.readyState !== WebSocket.OPEN) return this.#begin();
    this.#subscribe();
    clearTimeout(this.doubt);
    this.doubt = setTimeout(() => this.#begin(), PATIENCE);
  }

  #subscribe() {
    this.say({ type: "subscribe", after: this.last, changes_after: this.change });
  }

  #bySocket({ works, fails, take, takeChanged, resync, current }) {
    const open = new WebSocket(this.socket);
    this.open = open;
    let subscribed = false;
    // It may open and then say nothing, or that the store is out of reach.
    this.doubt = setTimeout(() => open.close(), PATIENCE);
    open.onopen = current(() => this.#subscribe());
    open.onmessage = current((event) => {
      const frame = JSON.parse(event.data);
      if (frame.type === "message") return take(frame);
      if (frame.type === "changed") return takeChanged(frame);
      if (frame.type === "resync") return resync();
      if (frame.type === "error") {
        // The user may not be in the room, or not any more.
        const away = frame.status === 403 || frame.status === 404;
        if (away) this.on(frame);
        if (away || !subscribed) open.close();
        return;
      }
      if (frame.type === "subscribed") {
        subscribed = true;
        this.change ??= frame.last_change;
        clearTimeout(this.doubt);
        works("socket");
      }
      this.on(frame);
    });
    open.onclose = fails;
    return () => {
      this.open = undefined;
      open.close();
    };
  }

  #byEvents({ works, fails, take, takeChanged, resync }) {
    const query = new URLSearchParams({ after: this.last });
    if (this.change !== undefined) query.set("changes_after", this.change);
    const events = new EventSource(`${this.events}?${query}`);
    events.onopen = () => works("events");
    events.addEventListener("message", (event) => take(JSON.parse(event.data)));
    events.addEventListener("changed", (event) => takeChanged(JSON.parse(event.data)));
    events.addEventListener("resync", resync);
    events.addEventListener("room", (event) => this.on(JSON.parse(event.data)));
    // It would come back by itself, and never give up.
    events.onerror = () => {
      events.close();
      fails();
    };
    return () => events.close();
  }

  #byPolling({ works, fails, take, takeChanged, resync }) {
    const abort = new AbortController();
    const poll = async (address, place, takeOne) => {
      for (let wait = 0; !abort.signal.aborted; wait = WAIT) {
        const query = new URLSearchParams({ after: place(), limit: PAGE, wait });
        const answer = await fetch(`${address}?${query}`, { signal: abort.signal });
        if (answer.status === 410) {
          resync();
          continue;
        }
        if (!answer.ok) throw new Error(answer.statusText);
        const messages = await answer.json();
        works("poll");
        messages.forEach(takeOne);
      }
    };
    const messages = poll(this.messages, () => this.last, take);
    const changes = poll(this.changes, () => this.change ?? 0, takeChanged);
    Promise.all([messages, changes]).catch(fails);
    return () => abort.abort();
  }
}
