// How far the reader has read, and the line above what is new.
import { t } from "./texts.js";

const REPEAT = 1000;

// Tells if the reader looks at the page: in sight alone it may stand behind another window.
export function isWatched() {
  return !document.hidden && document.hasFocus();
}

export class ReadMarks {
  #list;
  #scroll;
  #say;
  #read;
  #said = -Infinity;
  #timer;
  #line;
  // Where the line belongs when the room is opened, until it is there.
  #boundary;

  constructor(list, scroll, read, say) {
    this.#list = list;
    this.#scroll = scroll;
    this.#read = this.#boundary = read;
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
      if (!this.#hasRead()) return;
      this.#said = performance.now();
      this.#read = this.#list.last;
      this.#say(this.#read);
    }, Math.max(0, this.#said + REPEAT - performance.now()));
  }

  // Another tab or device of the reader has.
  moved(seq) {
    this.#read = Math.max(this.#read, seq);
  }

  close() {
    clearTimeout(this.#timer);
  }

  #hasRead() {
    return isWatched() && this.#scroll.atEnd && this.#list.last > this.#read;
  }
}
