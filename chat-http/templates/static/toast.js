// A short notice at the bottom of the room, with a button to undo where that is possible.

const LASTS = 6000;

export class Toast {
  #box;
  #timer;
  #done;

  constructor(box, signal) {
    this.#box = box;
    box.querySelector("button").addEventListener("click", () => this.#end(true), { signal });
    // Leaving the page does not undo the action.
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
