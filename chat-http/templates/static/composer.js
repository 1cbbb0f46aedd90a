// The field for a new message: one draft for each room, Enter sends, and it grows with its text.
import { load, save } from "./storage.js";
import { t } from "./texts.js";

const MOST_CHARACTERS = 4000;
// On a screen keyboard Enter breaks the line, and the button sends.
const screenKeyboard = matchMedia("(pointer: coarse)");

export class Composer {
  #form;
  #field;
  #error;
  #bar;
  #draftKey;
  #replyTo;

  // `on` has `send(text, replyTo)`, `type()`, `editLast()`, and `complete(event)`, which returns
  // true for a key that chose a completion.
  constructor(form, { prefix, user, room, on, signal }) {
    this.#form = form;
    this.#field = form.elements.text;
    this.#error = form.querySelector("#composer-error");
    this.#bar = form.querySelector("#reply-bar");
    this.#draftKey = `chat.draft.${JSON.stringify([prefix, user, room])}`;
    this.on = on;
    form.addEventListener("submit", (event) => this.#submit(event), { signal });
    this.#field.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#field.addEventListener("input", () => this.#input(), { signal });
    this.#bar.querySelector("button").addEventListener("click", () => this.cancelReply(), { signal });
    this.#restore();
  }

  get field() {
    return this.#field;
  }

  focus() {
    this.#field.focus();
  }

  // Puts text in place of what is selected.
  insert(text) {
    this.#field.setRangeText(text, this.#field.selectionStart, this.#field.selectionEnd, "end");
    this.#field.dispatchEvent(new Event("input"));
    this.focus();
  }

  reply(seq, name) {
    this.#replyTo = { seq, name };
    this.#showReply();
    this.#keep();
    this.focus();
  }

  cancelReply() {
    this.#replyTo = undefined;
    this.#showReply();
    this.#keep();
    this.focus();
  }

  disable(reason) {
    this.#field.disabled = this.#form.querySelector(".send").disabled = true;
    this.#showError(reason);
  }

  #showReply() {
    this.#bar.hidden = !this.#replyTo;
    if (this.#replyTo) this.#bar.querySelector("span").textContent = t("replying_to", { name: this.#replyTo.name });
  }

  #showError(text) {
    this.#error.hidden = !text;
    this.#error.textContent = text;
  }

  #restore() {
    const draft = load(this.#draftKey);
    if (draft && this.#field.value === "") {
      this.#field.value = draft.text;
      this.#replyTo = draft.replyTo;
      this.#showReply();
    }
    this.#grow();
  }

  #keep() {
    const [text, replyTo] = [this.#field.value, this.#replyTo];
    save(this.#draftKey, text || replyTo ? { text, replyTo } : null);
  }

  #input() {
    this.#grow();
    this.#keep();
    const surplus = surplusOf(this.#field.value);
    this.#showError(surplus > 0 ? t("text_too_long", { n: surplus }) : "");
    if (this.#field.value !== "") this.on.type();
  }

  // Grows the field in browsers whose stylesheets cannot.
  #grow() {
    if (CSS.supports("field-sizing", "content")) return;
    this.#field.style.blockSize = "auto";
    this.#field.style.blockSize = `${this.#field.scrollHeight + 2}px`;
  }

  #key(event) {
    if (event.isComposing || this.on.complete(event)) return;
    const modified = event.shiftKey || event.altKey || event.ctrlKey || event.metaKey;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey || (!screenKeyboard.matches && !modified))) this.#submit(event);
    if (event.key === "Escape" && this.#replyTo) this.cancelReply();
    if (event.key === "ArrowUp" && !modified && this.#field.value === "" && this.on.editLast()) event.preventDefault();
  }

  #submit(event) {
    event.preventDefault();
    const text = this.#field.value.replace(/^\n+|\s+$/g, "");
    if (text === "" || this.#field.disabled || surplusOf(text) > 0) return;
    this.#field.value = "";
    const replyTo = this.#replyTo?.seq;
    this.#replyTo = undefined;
    this.#showReply();
    this.#grow();
    this.#keep();
    this.#showError("");
    this.on.send(text, replyTo);
    this.focus();
  }
}

// Characters as the server counts them, beyond what a message may have.
export function surplusOf(text) {
  return text.length > MOST_CHARACTERS ? [...text].length - MOST_CHARACTERS : 0;
}
