// The rows on the page, in the order of their `seq`, with the pending ones after them.
import { ROW_LINKS } from "./formatter.js";
import { requote } from "./quotes.js";

const MOST_ROWS = 300;
const LEEWAY = 20;

export class MessageList {
  #formatter;
  #scroll;

  // `onArrive` is called with each new row before it is shown, and returns the pending row that it
  // replaces, if there is one.
  constructor(list, formatter, scroll, onArrive) {
    this.list = list;
    this.#formatter = formatter;
    this.#scroll = scroll;
    this.onArrive = onArrive;
    this.rows().forEach((row) => this.#formatter.format(row));
    this.rows().forEach((row) => this.#formatter.thread(row));
    list.classList.add("arranged");
  }

  rows() {
    return [...this.list.querySelectorAll(":scope > [data-seq]")];
  }

  row(seq) {
    return this.list.querySelector(`#m${Number(seq)}`);
  }

  get first() {
    return Number(this.list.querySelector(":scope > [data-seq]")?.dataset.seq ?? 0);
  }

  get last() {
    let row = this.list.lastElementChild;
    while (row && !row.dataset.seq) row = row.previousElementSibling;
    return Number(row?.dataset.seq ?? 0);
  }

  get atEnd() {
    return this.#scroll.atEnd;
  }

  // `live` rows are new; the others belong to history that the reader scrolls through.
  append(rows, { live = true } = {}) {
    const last = this.last;
    const fresh = rows.filter((row) => Number(row.dataset.seq) > last);
    if (fresh.length === 0) return;
    this.#scroll.keep(() => {
      for (const row of fresh) {
        this.#formatter.format(row);
        const replaced = live && this.onArrive(row);
        const pending = this.list.querySelector(":scope > .pending");
        if (pending) pending.before(row);
        else this.list.append(row);
        if (replaced) replaced.remove();
        this.#formatter.thread(row);
      }
      this.#threadPending();
    }, !live);
  }

  prepend(rows) {
    const next = this.rows()[0];
    const first = this.first;
    const fresh = rows.filter((row) => Number(row.dataset.seq) < first);
    this.#scroll.keep(() => {
      fresh.forEach((row) => this.#formatter.format(row));
      if (next.previousElementSibling?.matches(".day")) next.previousElementSibling.remove();
      this.list.prepend(...fresh);
      [...fresh, next].forEach((row) => this.#formatter.thread(row));
    });
  }

  // Shows a message as it is drawn now. What the reader has open in the row goes on in the new one.
  replace(row, drawn) {
    const focused = row.contains(document.activeElement) ? document.activeElement : null;
    this.#scroll.keep(() => {
      this.#formatter.format(drawn);
      drawn.tabIndex = row.tabIndex;
      if (row.tabIndex === 0) drawn.querySelectorAll(ROW_LINKS).forEach((link) => (link.tabIndex = 0));
      if (row.querySelector(".fold") && !row.matches(".folded")) drawn.querySelector(".fold")?.click();
      for (const part of row.querySelectorAll(":scope > .editor, :scope > .row-tools")) drawn.append(part);
      for (const name of ["editing", "leaving", "target"]) drawn.classList.toggle(name, row.classList.contains(name));
      row.replaceWith(drawn);
      requote(this.list, drawn);
      this.#formatter.thread(drawn);
      const next = drawn.nextElementSibling;
      if (next?.matches(".message")) this.#formatter.thread(next);
    });
    if (!focused) return;
    const heir = focused.isConnected ? focused : (findLike(drawn, focused) ?? drawn);
    heir.focus({ preventScroll: true });
  }

  // Other rows in place of all that are shown. Pending ones stay.
  reset(rows) {
    const pending = [...this.list.querySelectorAll(":scope > .pending")];
    rows.forEach((row) => this.#formatter.format(row));
    this.list.replaceChildren(...rows, ...pending);
    [...rows, ...pending].forEach((row) => this.#formatter.thread(row));
  }

  appendPending(row) {
    this.#scroll.keep(() => {
      this.list.append(row);
      this.#formatter.thread(row);
    });
  }

  // A row has got another neighbour.
  rethread(row) {
    this.#formatter.thread(row);
  }

  // Drops what is too much from one end, "first" or "last". Returns true if rows went.
  trim(end) {
    const rows = this.rows();
    const surplus = rows.length - MOST_ROWS;
    if (surplus <= LEEWAY) return false;
    const dropped = end === "first" ? rows.slice(0, surplus) : rows.slice(-surplus);
    this.#scroll.keep(() => {
      dropped.forEach((row) => row.remove());
      for (const day of this.list.querySelectorAll(".day")) {
        if (!day.nextElementSibling?.matches(".message, .new-line")) day.remove();
      }
      this.#formatter.thread(this.rows()[0]);
      this.#threadPending();
    });
    return true;
  }

  #threadPending() {
    this.list.querySelectorAll(":scope > .pending").forEach((row) => this.#formatter.thread(row));
  }
}

function findLike(row, part) {
  if (part.dataset.emoji) return row.querySelector(`.reaction[data-emoji="${CSS.escape(part.dataset.emoji)}"]`);
  return part.classList[0] ? row.querySelector(`.${CSS.escape(part.classList[0])}`) : null;
}
