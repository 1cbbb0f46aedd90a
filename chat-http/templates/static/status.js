// State of the connection in words, and the reason why a page has ended.
import { t } from "./texts.js";

const WORDS = { connecting: "", open: "", polling: "", lost: "connection_lost" };

export class Status {
  #element;
  #ended = false;

  constructor(element) {
    this.#element = element;
  }

  show(state) {
    if (this.#ended) return;
    this.#element.dataset.state = state;
    const key = state === "lost" && !navigator.onLine ? "offline" : WORDS[state];
    this.#element.textContent = key ? t(key) : "";
  }

  // Nothing more will come. The reader may go to `href`.
  end(text, label, href) {
    if (this.#ended) return;
    this.#ended = true;
    this.#element.dataset.state = "ended";
    this.#element.textContent = `${text} `;
    if (!label) return;
    const link = document.createElement("a");
    link.textContent = label;
    link.href = href;
    this.#element.append(link);
  }
}
