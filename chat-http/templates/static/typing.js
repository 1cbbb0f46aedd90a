// Names of those who type, and notices that the reader types.
import { t } from "./texts.js";

const LASTS = 5000;
const REPEAT = 3000;

export class Typing {
  #element;
  #timers = new Map();
  #said = -Infinity;

  constructor(element, say) {
    this.#element = element;
    this.say = say;
  }

  type() {
    if (performance.now() - this.#said < REPEAT) return;
    this.#said = performance.now();
    this.say();
  }

  // The message is written: the next one is said at once.
  sent() {
    this.#said = -Infinity;
  }

  start(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.set(name, setTimeout(() => this.stop(name), LASTS));
    this.#show();
  }

  stop(name) {
    if (!this.#timers.has(name)) return;
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
    this.#show();
  }

  clear() {
    this.#timers.forEach((timer) => clearTimeout(timer));
    this.#timers.clear();
    this.#show();
  }

  #show() {
    const [a, b, more] = this.#timers.keys();
    const key = more ? "typing_many" : b ? "typing_two" : "typing_one";
    this.#element.textContent = a ? t(key, { a, b }) : "";
  }
}
