// Completes @names and :emoji in a text field.
import { findEmoji, loadEmoji } from "./emoji.js";

const MOST = 8;
const WORD = /(?:^|[\s(])([@:])([^\s@:]*)$/;

export class Completer {
  #field;
  #box;
  #emojiUrl;
  #names;
  #found = [];
  #chosen = 0;
  #start = 0;

  // `names(prefix)` gives the names that may be meant, at best first, or a promise of them.
  constructor(field, box, { emojiUrl, names, signal }) {
    this.#field = field;
    this.#box = box;
    this.#emojiUrl = emojiUrl;
    this.#names = names;
    field.setAttribute("aria-controls", box.id);
    field.setAttribute("aria-autocomplete", "list");
    field.addEventListener("input", () => this.#look(), { signal });
    field.addEventListener("blur", () => this.#show([]), { signal });
    box.addEventListener("pointerdown", (event) => this.#pick(event), { signal });
  }

  // Returns true if the key is one of the completions'.
  takeKey(event) {
    if (this.#found.length === 0 || event.ctrlKey || event.altKey || event.metaKey) return false;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.#choose((this.#chosen + step + this.#found.length) % this.#found.length);
    else if (event.key === "Escape") this.#show([]);
    else if (event.key === "Tab" || (event.key === "Enter" && !event.shiftKey)) this.#accept();
    else return false;
    event.preventDefault();
    return true;
  }

  async #look() {
    const before = this.#field.value.slice(0, this.#field.selectionStart);
    const [, sign, text] = before.match(WORD) ?? [];
    this.#start = before.length - (text?.length ?? 0) - 1;
    if (!sign || (sign === ":" && text.length < 2)) return this.#show([]);
    const found = sign === "@" ? await this.#findNames(text) : await this.#findEmoji(text);
    // Somebody may have typed on.
    const now = this.#field.value.slice(0, this.#field.selectionStart);
    if (now === before && document.activeElement === this.#field) this.#show(found);
  }

  async #findNames(text) {
    const names = await this.#names(text);
    return names.slice(0, MOST).map((name) => ({ label: name, sign: "@", text: `@${name} ` }));
  }

  async #findEmoji(text) {
    const found = findEmoji(await loadEmoji(this.#emojiUrl), text);
    return found.slice(0, MOST).map(([name, emoji]) => ({ label: name, sign: emoji, text: `${emoji} ` }));
  }

  #show(found) {
    this.#found = found;
    this.#box.hidden = found.length === 0;
    this.#box.replaceChildren(...found.map(({ label, sign }, index) => option(label, sign, index)));
    if (found.length > 0) this.#choose(0);
    else this.#field.removeAttribute("aria-activedescendant");
  }

  #choose(index) {
    this.#chosen = index;
    [...this.#box.children].forEach((child, i) => child.setAttribute("aria-selected", i === index));
    this.#box.children[index].scrollIntoView({ block: "nearest" });
    this.#field.setAttribute("aria-activedescendant", `completion-${index}`);
  }

  #pick(event) {
    // The field keeps the focus.
    event.preventDefault();
    const index = [...this.#box.children].indexOf(event.target.closest("[role=option]"));
    if (index < 0) return;
    this.#chosen = index;
    this.#accept();
  }

  #accept() {
    const { text } = this.#found[this.#chosen];
    this.#field.setRangeText(text, this.#start, this.#field.selectionStart, "end");
    this.#show([]);
    this.#field.dispatchEvent(new Event("input"));
  }
}

function option(label, sign, index) {
  const made = document.createElement("div");
  made.id = `completion-${index}`;
  made.setAttribute("role", "option");
  const icon = document.createElement("span");
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = sign;
  made.append(icon, label);
  return made;
}
