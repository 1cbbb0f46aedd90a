// Quotes in rows, of the messages that they answer.
import { t } from "./texts.js";

const MAX_CHARACTERS = 120;

// Shows a message as it is now in the rows that answer it.
export function requote(list, row) {
  const by = document.createElement("b");
  by.textContent = row.dataset.sender ?? "";
  const line = row.querySelector(".body").innerText.trim().split("\n")[0].slice(0, MAX_CHARACTERS);
  const parts = "deleted" in row.dataset ? [t("quote_gone")] : [by, ` ${line}`];
  for (const quote of list.querySelectorAll(`[data-reply-to="${row.dataset.seq}"] > .quote`)) {
    quote.replaceChildren(...parts.map((part) => part.cloneNode?.(true) ?? part));
  }
}
