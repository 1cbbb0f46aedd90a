// Scroll position of the list. The scroller is reversed: 0 is its end and positions above it are
// negative, so it stays at the end by itself.

const NEAR = 60;

export class ScrollManager {
  #scroller;

  constructor(scroller) {
    this.#scroller = scroller;
  }

  get atEnd() {
    return this.#scroller.scrollTop > -NEAR;
  }

  toEnd() {
    this.#scroller.scrollTop = 0;
  }

  // Runs a change of the list. At the end the list stays at its end, unless it is to `hold`;
  // elsewhere what is seen stays where it is.
  keep(change, hold = false) {
    const anchor = this.atEnd && !hold ? undefined : this.#firstVisible();
    // Its lower edge: the row itself may lose its head as it joins another.
    const before = anchor?.getBoundingClientRect().bottom;
    change();
    if (anchor?.isConnected) this.#scroller.scrollTop += anchor.getBoundingClientRect().bottom - before;
  }

  reveal(row) {
    row.scrollIntoView({ block: "center", behavior: "instant" });
  }

  #firstVisible() {
    const box = this.#scroller.getBoundingClientRect();
    const rows = [...this.#scroller.querySelectorAll(".message")];
    let [low, high] = [0, rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].getBoundingClientRect().bottom < box.top) low = middle + 1;
      else high = middle;
    }
    return rows[low];
  }
}
