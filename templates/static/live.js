// Follows one room: by a socket, else by an event stream, else by asking again and again. Whatever
// it is, it goes on after the last message seen, so nothing is missed and nothing comes twice.

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
  // `socket`, `events` and `messages` are addresses; `last` is the seq to go on after. `on` is
  // called with each frame of the contract, `status` with "socket", "events", "poll" or "".
  constructor({ room, socket, events, messages, last, on, status }) {
    Object.assign(this, { room, socket, events, messages, last, on, status });
    this.ways = [
      "WebSocket" in window && this.#bySocket,
      "EventSource" in window && this.#byEvents,
      this.#byPolling,
    ].filter(Boolean);
    this.attempt = 0;
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
      this.on({ ...message, type: "message" });
    });
    this.close = this.ways[this.way].call(this, { works, fails, take, current });
  }

  // After sleep, or on another network, a connection may be dead without knowing.
  #check() {
    if (this.open?.readyState !== WebSocket.OPEN) return this.#begin();
    this.say({ type: "subscribe", after: this.last });
    clearTimeout(this.doubt);
    this.doubt = setTimeout(() => this.#begin(), PATIENCE);
  }

  #bySocket({ works, fails, take, current }) {
    const open = new WebSocket(this.socket);
    this.open = open;
    let subscribed = false;
    // It may open and then say nothing, or that the store is out of reach.
    this.doubt = setTimeout(() => open.close(), PATIENCE);
    open.onopen = current(() => this.say({ type: "subscribe", after: this.last }));
    open.onmessage = current((event) => {
      const frame = JSON.parse(event.data);
      if (frame.type === "message") return take(frame);
      if (frame.type === "error") {
        // The user may not be in the room, or not any more.
        const away = frame.status === 403 || frame.status === 404;
        if (away) this.on(frame);
        if (away || !subscribed) open.close();
        return;
      }
      if (frame.type === "subscribed") {
        subscribed = true;
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

  #byEvents({ works, fails, take }) {
    const events = new EventSource(`${this.events}?after=${this.last}`);
    events.onopen = () => works("events");
    events.addEventListener("message", (event) => take(JSON.parse(event.data)));
    events.addEventListener("deleted", (event) => this.on(JSON.parse(event.data)));
    // It would come back by itself, and never give up.
    events.onerror = () => {
      events.close();
      fails();
    };
    return () => events.close();
  }

  #byPolling({ works, fails, take }) {
    const abort = new AbortController();
    const poll = async () => {
      for (let wait = 0; !abort.signal.aborted; wait = WAIT) {
        const query = new URLSearchParams({ after: this.last, limit: PAGE, wait });
        const answer = await fetch(`${this.messages}?${query}`, { signal: abort.signal });
        if (!answer.ok) throw new Error(answer.statusText);
        const messages = await answer.json();
        works("poll");
        messages.forEach(take);
      }
    };
    poll().catch(fails);
    return () => abort.abort();
  }
}
