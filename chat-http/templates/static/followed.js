// A room that is followed, and the position in it: the last message and the last change seen.
import { poll } from "./long_poll.js";

export class Followed {
  #on;
  #stop;

  // `on` is called with each frame about the room, in order.
  constructor(room, { api, last, change }, on) {
    Object.assign(this, { room, api, last, change });
    this.#on = on;
  }

  // Returns the frame that follows the room after the places reached.
  resume() {
    const { room, last, change } = this;
    this.isConfirmed = false;
    return { type: "subscribe", room, after: last, changes_after: change, html: true, line: true };
  }

  confirm({ last_change }) {
    this.isConfirmed = true;
    this.change ??= last_change;
  }

  // Tells if a frame refuses to follow the room for now: the store may be away, or the room was
  // asked for too often.
  isDelayedBy({ type, nonce, status }) {
    return type === "error" && !this.isConfirmed && !nonce && status !== 403 && status !== 404;
  }

  // Passes a frame on, unless it was seen, and moves the places.
  pass(frame) {
    if (frame.type === "message") {
      if (frame.seq <= this.last) return;
      this.last = frame.seq;
    }
    if (frame.type === "changed") this.change = Math.max(this.change ?? 0, frame.change);
    if (frame.type === "resync") this.change = frame.last_change;
    this.#on(frame);
  }

  // Asks for the room again and again. `onAnswer` is called when an answer has come.
  poll(onAnswer) {
    this.#stop ??= poll(this, (frame) => {
      onAnswer();
      if (frame) this.pass(frame);
    });
  }

  stopPolling() {
    this.#stop?.();
    this.#stop = undefined;
  }
}
