// Read marks of the reader, and the line above the new messages.
import { send } from "./request.js";
import { t } from "./texts.js";

const REPEAT = 1000;

// Tells if the reader looks at the page: in sight alone it may stand behind another window.
export function isWatched() {
  return !document.hidden && document.hasFocus();
}

// Tells the server how far the user has read. Returns false if there is no connection.
export function tellRead({ room, api, live, user }, seq) {
  if (!user) return true;
  if (live.state !== "polling") return live.say({ type: "read", room, seq });
  send("POST", `${api}/read`, { seq }).catch(() => {});
  return true;
}

export class ReadMarks {
  #list;
  #scroll;
  #say;
  #read;
  // As the server has it.
  #stored;
  #said = -Infinity;
  #timer;
  #line;
  // The seq that the line stands after when the room is opened, until the row is there.
  #boundary;

  // `say` returns false if it could not tell the server.
  constructor(list, scroll, read, say) {
    this.#list = list;
    this.#scroll = scroll;
    this.#read = this.#stored = this.#boundary = read;
    this.#say = say;
    this.#line = document.createElement("li");
    this.#line.className = "new-line";
    const label = document.createElement("span");
    label.textContent = t("new_messages");
    this.#line.append(label);
  }

  get read() {
    return this.#read;
  }

  // Puts the line before the first row that was not read when the room was opened, once that is
  // among the rows.
  open(user) {
    if (!this.#boundary || this.#list.first > this.#boundary + 1) return;
    const unread = this.#list.rows().find((row) => Number(row.dataset.seq) > this.#boundary && row.dataset.sender !== user);
    this.#boundary = undefined;
    if (unread) this.drawLine(unread);
  }

  drawLine(row) {
    if (this.#line.isConnected) return;
    this.#scroll.keep(() => {
      row.before(this.#line);
      this.#list.rethread(row);
    });
  }

  removeLine() {
    this.#boundary = undefined;
    if (!this.#line.isConnected) return;
    const next = this.#line.nextElementSibling;
    this.#scroll.keep(() => {
      this.#line.remove();
      if (next?.matches(".message")) this.#list.rethread(next);
    });
  }

  // Says how far the reader has read, at most once a second.
  mark() {
    if (this.#timer || !this.#hasRead()) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (!this.#hasRead() || !this.#say(this.#list.last)) return;
      this.#said = performance.now();
      this.#read = this.#list.last;
    }, Math.max(0, this.#said + REPEAT - performance.now()));
  }

  // The reader has, on this or another device.
  moved(seq) {
    this.#stored = Math.max(this.#stored, seq);
    this.#read = Math.max(this.#read, seq);
  }

  // There is a connection again. What was said before it was lost may not have arrived.
  resume() {
    this.#read = this.#stored;
    this.mark();
  }

  close() {
    clearTimeout(this.#timer);
  }

  #hasRead() {
    return isWatched() && this.#scroll.atEnd && this.#list.last > this.#read;
  }
}
