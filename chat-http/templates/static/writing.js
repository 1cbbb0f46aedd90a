// Writing in a room: the composer, its completions, and the way of a message until it is stored.
import { Completer } from "./completer.js";
import { Composer } from "./composer.js";
import { Outbox } from "./outbox.js";

// Milliseconds that the row of a stored message may take to arrive over the connection.
const ROW_PATIENCE = 1500;

export class Writing {
  #room;

  // `room` has `main`, `room`, `user`, `api`, `names`, `picker`, `typing`, `marks`, `timeline`,
  // `list`, `pending`, `live`, `actions`, and `toEnd()`.
  constructor(room, signal) {
    this.#room = room;
    const find = (selector) => room.main.querySelector(selector);
    const on = {
      send: (text, replyTo) => this.#send(text, replyTo),
      type: () => room.typing.type(),
      editLast: () => room.actions.editLast(),
      complete: (event) => this.completer.takeKey(event),
    };
    const { prefix } = room.main.dataset;
    this.composer = new Composer(find("#composer"), { prefix, user: room.user, room: room.room, on, signal });
    const emojiUrl = find("#messages").dataset.emoji;
    const names = (text) => room.names.find(text);
    this.completer = new Completer(this.composer.field, find("#completions"), { emojiUrl, names, signal });
    const box = {
      change: (entry) => this.#changed(entry),
      stored: (entry, message) => this.#stored(entry, message),
    };
    this.outbox = Outbox.open({ prefix, user: room.user, room: room.room, api: room.api, on: box });
    const emoji = find("#emoji");
    emoji.addEventListener("click", () => room.picker.open(emoji, (chosen) => this.composer.insert(chosen)), { signal });
  }

  #send(text, replyTo) {
    this.#room.marks.removeLine();
    this.#room.typing.sent();
    this.outbox.add(text, replyTo);
    this.#room.toEnd();
  }

  #changed(entry) {
    this.#room.pending.show(entry, this.outbox);
    // The session may have ended, or be another's.
    if ([401, 403].includes(entry.problem?.status)) this.#room.live.dispatchEvent(new Event("fail"));
  }

  #stored(entry, { seq }) {
    const { pending, live } = this.#room;
    if (!pending.stored(entry, seq)) return;
    if (live.state === "open") setTimeout(() => this.#bring(seq), ROW_PATIENCE);
    else this.#bring(seq);
  }

  async #bring(seq) {
    const { list, timeline, pending } = this.#room;
    if (!list.row(seq)) await timeline.refresh(seq).catch(() => {});
    pending.settle();
  }
}
