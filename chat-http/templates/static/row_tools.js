// Tools of a row: buttons where the pointer or the focus is, a menu, and keys.
import { ROW_LINKS } from "./formatter.js";
import { moveByKeys, openBeside } from "./popover.js";

const KEYS = { r: "reply", e: "edit", "+": "react", c: "copy", Delete: "delete", Enter: "menu" };

export class RowTools {
  #list;
  #tools;
  #menu;
  #row;
  #actions;

  // `actions` has `allowed(row)`, the names of what may be done, and `run(name, row, anchor)`.
  constructor(list, { template, menu, actions, signal }) {
    this.#list = list;
    this.#menu = menu;
    this.#actions = actions;
    this.#tools = template.content.firstElementChild.cloneNode(true);
    const on = (target, type, call) => target.addEventListener(type, call, { signal });
    on(list, "pointerover", (event) => event.pointerType === "mouse" && this.#show(rowOf(event.target)));
    on(list, "pointerleave", () => this.#tools.contains(document.activeElement) || this.#tools.remove());
    on(list, "focusin", (event) => this.#focus(rowOf(event.target)));
    on(list, "keydown", (event) => this.#key(event));
    on(list, "click", (event) => this.#click(event));
    on(menu, "click", (event) => this.#choose(event.target.closest("[data-do]")));
    on(menu, "keydown", (event) => moveByKeys(event, [...menu.querySelectorAll("button:not([hidden])")]));
    on(menu, "toggle", (event) => event.newState === "closed" && this.#row?.classList.remove("menu-open"));
  }

  // Lets Tab lead to a row, the newest one, unless the focus is in another.
  offer(row) {
    if (row && !this.#list.contains(document.activeElement)) this.#reach(row);
  }

  #reach(row) {
    this.#list.querySelectorAll(':scope > [tabindex="0"]').forEach((other) => reach(other, -1));
    reach(row, 0);
  }

  #show(row) {
    if (!row || row.contains(this.#tools) || row.querySelector(".editor")) return;
    const allowed = this.#actions.allowed(row);
    if (allowed.length === 0) return this.#tools.remove();
    for (const button of this.#tools.querySelectorAll("[data-do]")) {
      button.hidden = button.dataset.do !== "menu" && !allowed.includes(button.dataset.do);
    }
    row.append(this.#tools);
  }

  #focus(row) {
    if (!row) return;
    this.#reach(row);
    this.#show(row);
  }

  #key(event) {
    const row = event.target;
    // A link that acts as a button.
    if (row.matches(".reaction") && event.key === " ") {
      event.preventDefault();
      return row.click();
    }
    if (!row.matches(".message") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[event.key];
    const action = KEYS[event.key];
    if (step) {
      let next = row[step];
      while (next && !next.matches(".message")) next = next[step];
      next?.focus();
    } else if (action) {
      this.#do(action, row, row.querySelector(".meta"));
    } else {
      return;
    }
    event.preventDefault();
  }

  #click(event) {
    const row = rowOf(event.target);
    const button = event.target.closest("[data-do]");
    if (row && button) return this.#do(button.dataset.do, row, button);
    const link = event.target.closest(".menu");
    if (!row || !link || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#do("menu", row, link);
  }

  #do(action, row, anchor) {
    const allowed = this.#actions.allowed(row);
    if (action !== "menu") return allowed.includes(action) && this.#actions.run(action, row, anchor);
    if (allowed.length === 0) return;
    this.#row = row;
    row.classList.add("menu-open");
    for (const item of this.#menu.querySelectorAll("[data-do]")) item.hidden = !allowed.includes(item.dataset.do);
    openBeside(this.#menu, anchor);
    this.#menu.querySelector("button:not([hidden])").focus();
  }

  #choose(item) {
    if (!item) return;
    const row = this.#list.querySelector(`#${this.#row.id}`);
    this.#menu.hidePopover();
    if (row) this.#do(item.dataset.do, row, row.querySelector(".meta"));
  }
}

// Lets Tab lead to a row and its links, or not.
function reach(row, tabIndex) {
  row.tabIndex = tabIndex;
  row.querySelectorAll(ROW_LINKS).forEach((link) => (link.tabIndex = tabIndex));
}

function rowOf(element) {
  return element.closest?.(".message[data-seq]");
}
