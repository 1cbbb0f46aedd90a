// One socket, with pings that detect a dead connection.

// Milliseconds of silence after which the connection is pinged, and then given up.
const SILENCE = 5000;
const ANSWER = 3000;

export class LiveSocket {
  #socket;
  #on;
  #timer;

  // `on` has `open()`, `frame(frame)`, and `lost()`, which is called once.
  constructor(url, on) {
    this.#on = on;
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => on.open();
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    this.#socket.onclose = () => this.#lose();
    // It may never open.
    this.#wait(ANSWER, () => this.#lose());
  }

  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  // Returns false if there is no connection.
  send(frame) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  // Asks whether the server is there.
  ask() {
    this.send({ type: "ping" });
    this.#wait(ANSWER, () => this.#lose());
  }

  close() {
    clearTimeout(this.#timer);
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }

  #take(frame) {
    this.#wait(SILENCE, () => this.ask());
    this.#on.frame(frame);
  }

  #lose() {
    this.close();
    this.#on.lost();
  }

  #wait(time, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, time);
  }
}
