// Events of the open room, as the connection brings them.
import { isWatched } from "./read_marks.js";
import { t } from "./texts.js";

// Everyone may be told to read again at the same moment.
const SPREAD = 3000;
// Milliseconds before a failed fetch is tried again.
const RETRY = 2000;

export class RoomEvents {
  #room;
  #frames = [];

  constructor(room) {
    this.#room = room;
  }

  take(frame) {
    const { timeline, names, typing, marks, main, user } = this.#room;
    switch (frame.type) {
      case "message":
        this.#notify(frame);
        this.#draw(frame);
        break;
      case "changed":
        this.#draw(frame);
        break;
      case "resync":
        setTimeout(() => timeline.refreshAll().catch(() => {}), Math.random() * SPREAD);
        break;
      case "presence":
        frame.users.forEach((name) => names.add(name));
        document.dispatchEvent(new CustomEvent("chat:presence", { detail: frame }));
        break;
      case "typing":
        if (frame.username !== user) typing.start(frame.username);
        break;
      case "read":
        marks.moved(frame.seq);
        if (frame.seq >= this.#room.list.last) this.#room.notifier.seen();
        break;
      case "room":
        main.querySelector("#topic").textContent = frame.topic ?? "";
        break;
      case "error":
        if (frame.status === 403 || frame.status === 404) this.#room.end(t("room_gone"), t("rooms"), `${main.dataset.prefix}/`);
        break;
    }
  }

  // Frames that come together are shown in the next picture that is drawn.
  #draw(frame) {
    if (this.#frames.push(frame) > 1) return;
    if (document.hidden) setTimeout(() => this.#drawAll());
    else requestAnimationFrame(() => this.#drawAll());
  }

  #drawAll() {
    const frames = this.#frames.splice(0);
    const again = () => setTimeout(() => frames.forEach((frame) => this.#draw(frame)), RETRY);
    this.#room.timeline.take(frames).catch(again);
  }

  // A message came after the end of the list.
  miss(frame) {
    if (frame.sender !== this.#room.user) this.#room.jump.count();
  }

  #notify(frame) {
    const { list, notifier, user } = this.#room;
    if (frame.deleted || frame.sender === user) return;
    const calls = frame.mentions?.includes(user) || list.row(frame.reply_to)?.classList.contains("own");
    notifier.message({ ...frame, calls });
  }

  // A row is about to be shown. Returns the pending row that it replaces.
  arrive(row) {
    const { names, typing, outbox, pending, scroll, marks, jump, tools, user } = this.#room;
    const { sender } = row.dataset;
    names.add(sender);
    typing.stop(sender);
    const replaced = outbox && pending.replacedBy(row, outbox);
    if (sender !== user) {
      if (!isWatched() || !scroll.atEnd) queueMicrotask(() => marks.drawLine(row));
      if (!scroll.atEnd) jump.count();
    }
    queueMicrotask(() => {
      marks.mark();
      tools.offer(row);
    });
    return replaced;
  }
}
