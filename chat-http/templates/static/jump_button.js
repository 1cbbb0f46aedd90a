// The button that leads to the end of the list, with the number of messages that came meanwhile.
import { t } from "./texts.js";

const FAR = 300;

export class JumpButton {
  #button;
  #count = 0;

  constructor(button, { scroller, isNewest, jump, signal }) {
    this.#button = button;
    this.update = () => {
      const atEnd = isNewest() && scroller.scrollTop > -FAR;
      if (atEnd) this.#count = 0;
      button.hidden = atEnd;
      const key = this.#count > 1 ? "jump_new_many" : this.#count === 1 ? "jump_new_one" : "jump_down";
      button.textContent = `↓ ${t(key, { n: this.#count })}`;
      button.classList.toggle("unread", this.#count > 0);
    };
    scroller.addEventListener("scroll", this.update, { signal, passive: true });
    button.addEventListener("click", jump, { signal });
  }

  count() {
    this.#count += 1;
    this.update();
  }
}
