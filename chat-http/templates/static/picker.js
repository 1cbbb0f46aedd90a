// The emoji picker: a few often used ones first, and all by name.
import { findEmoji, loadEmoji } from "./emoji.js";
import { moveByKeys, openBeside } from "./popover.js";
import { load, save } from "./storage.js";

const OFTEN = ["👍", "❤️", "😂", "🎉", "😮", "😢", "👀", "🙏"];
const KEY = "chat.emoji";

export class Picker {
  #box;
  #url;
  #find;
  #grid;
  #pick;

  constructor(box, url, signal) {
    this.#box = box;
    this.#url = url;
    this.#find = box.querySelector("input");
    this.#grid = box.querySelector(".emoji");
    this.#find.addEventListener("input", () => this.#show(), { signal });
    this.#find.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#grid.addEventListener("keydown", (event) => moveByKeys(event, [...this.#grid.children]), { signal });
    this.#grid.addEventListener("click", (event) => this.#choose(event.target.closest("button")), { signal });
  }

  // Opens beside an element. `pick` is called with the emoji that is chosen.
  async open(anchor, pick) {
    this.#pick = pick;
    this.#find.value = "";
    this.#grid.replaceChildren(...this.#often().map((emoji) => button(emoji, emoji)));
    openBeside(this.#box, anchor);
    // A screen keyboard would cover the emoji.
    if (!matchMedia("(pointer: coarse)").matches) this.#find.focus();
    await this.#show();
    if (this.#box.matches(":popover-open")) openBeside(this.#box, anchor);
  }

  #often() {
    return [...new Set([...(load(KEY) ?? []), ...OFTEN])].slice(0, OFTEN.length);
  }

  async #show() {
    const text = this.#find.value.trim();
    const all = await loadEmoji(this.#url);
    if (this.#find.value.trim() !== text) return;
    const names = new Map(all.toReversed().map(([name, emoji]) => [emoji, name]));
    const often = text ? [] : this.#often().map((emoji) => [names.get(emoji) ?? emoji, emoji]);
    const found = findEmoji(all, text).filter(([, emoji]) => !often.some(([, other]) => other === emoji));
    this.#grid.replaceChildren(...[...often, ...found].map(([name, emoji]) => button(name, emoji)));
  }

  #key(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      this.#choose(this.#grid.firstElementChild);
    }
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.#grid.firstElementChild?.focus();
    }
  }

  #choose(chosen) {
    if (!chosen) return;
    const emoji = chosen.textContent;
    save(KEY, [...new Set([emoji, ...this.#often()])].slice(0, OFTEN.length));
    this.#box.hidePopover();
    this.#pick(emoji);
  }
}

function button(name, emoji) {
  const made = document.createElement("button");
  made.type = "button";
  made.title = name.replaceAll("_", " ");
  made.setAttribute("aria-label", made.title);
  made.textContent = emoji;
  return made;
}
