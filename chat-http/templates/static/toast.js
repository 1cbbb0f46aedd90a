// A short notice at the bottom of the room, with Undo where something may be taken back.

const LASTS = 6000;

export class Toast {
  #box;
  #timer;
  #done;

  constructor(box, signal) {
    this.#box = box;
    box.querySelector("button").addEventListener("click", () => this.#end(true), { signal });
    // Who leaves the page has not undone it.
    addEventListener("pagehide", () => this.#end(false), { signal });
    signal.addEventListener("abort", () => this.#end(false));
  }

  // `done` is called once, with true if the reader took it back, and makes the notice offer that.
  show(text, done) {
    this.#end(false);
    this.#done = done;
    this.#box.querySelector("span").textContent = text;
    this.#box.querySelector("button").hidden = !done;
    this.#box.hidden = false;
    this.#timer = setTimeout(() => this.#end(false), LASTS);
  }

  #end(undone) {
    clearTimeout(this.#timer);
    this.#box.hidden = true;
    const done = this.#done;
    this.#done = undefined;
    done?.(undone);
  }
}
