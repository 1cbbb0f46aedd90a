// The members of the open room beside it: who is here, and the tools of its owner.
import { t } from "./texts.js";

export function startMembers() {
  const panel = document.getElementById("members");
  const members = new Members(panel);
  document.addEventListener("click", (event) => {
    const link = event.target.closest("#show-members");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    members.toggle(link);
  });
  document.addEventListener("chat:presence", ({ detail }) => members.mark(detail));
  document.addEventListener("chat:leave", () => members.close());
}

class Members {
  #panel;
  #opener;
  // Users who are present, by room.
  #here = new Map();

  constructor(panel) {
    this.#panel = panel;
    panel.addEventListener("submit", (event) => this.#submit(event));
    panel.addEventListener("click", (event) => this.#click(event));
    panel.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
  }

  async toggle(link) {
    if (!this.#panel.hidden) return this.close();
    this.#opener = link;
    await this.#load(link.href);
    this.#panel.querySelector("h1")?.focus();
  }

  close() {
    if (this.#panel.hidden) return;
    const hadFocus = this.#panel.contains(document.activeElement);
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    document.body.classList.remove("members-open");
    this.#opener?.setAttribute("aria-expanded", "false");
    if (hadFocus) this.#opener?.focus();
  }

  mark({ room, users }) {
    this.#here.set(room, new Set(users));
    this.#showPresence();
  }

  async #load(href, request = {}) {
    const answer = await fetch(href, { ...request, headers: { "x-chat-part": "main", accept: "text/html" } }).catch(() => undefined);
    if (!answer) return this.#fail();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const people = page.getElementById("people");
    // An answer that leads elsewhere, such as after leaving the room, is shown as a page.
    if (!people) return answer.redirected ? this.#leave(answer.url) : this.#fail();
    const focused = focusKey();
    const heading = people.querySelector("h1");
    heading.tabIndex = -1;
    people.querySelector("#close-members").hidden = false;
    this.#panel.replaceChildren(people);
    this.#panel.hidden = false;
    document.body.classList.add("members-open");
    this.#opener?.setAttribute("aria-expanded", "true");
    this.#showPresence();
    if (focused) (this.#panel.querySelector(focused) ?? heading).focus();
  }

  #leave(href) {
    this.close();
    location.assign(href);
  }

  #fail() {
    const error = document.createElement("p");
    error.className = "error";
    error.role = "alert";
    error.textContent = t("panel_failed");
    this.#panel.hidden = false;
    this.#panel.prepend(error);
  }

  #submit(event) {
    const form = event.target;
    const action = new URL(form.action);
    if (!action.pathname.endsWith("/people")) return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const draft = this.#panel.querySelector("#person-field");
    const typed = form.contains(draft) ? "" : draft?.value;
    this.#load(form.action, { method: "POST", body }).then(() => {
      const field = this.#panel.querySelector("#person-field");
      if (field && typed && !field.value) field.value = typed;
    });
  }

  #click(event) {
    const more = event.target.closest(".more-people");
    const close = event.target.closest("#close-members");
    if (!more && !close) return;
    event.preventDefault();
    if (close) this.close();
    else this.#load(more.href);
  }

  #showPresence() {
    const room = this.#panel.querySelector("#people")?.dataset.room;
    const here = this.#here.get(room);
    const list = this.#panel.querySelector("#member-list");
    if (!here || !list) return;
    const rows = [...list.children];
    for (const row of rows) {
      row.toggleAttribute("data-present", here.has(row.dataset.user));
      row.querySelector(".presence").hidden = !here.has(row.dataset.user);
    }
    const absent = (row) => (row.hasAttribute("data-present") ? 0 : 1);
    const sorted = rows.toSorted((a, b) => absent(a) - absent(b));
    if (sorted.some((row, i) => row !== rows[i])) list.append(...sorted);
  }
}

// Returns a selector that finds the control with the focus again in a new panel.
function focusKey() {
  const { id, name, value } = document.activeElement ?? {};
  if (!document.getElementById("members").contains(document.activeElement)) return undefined;
  if (id) return `#${CSS.escape(id)}`;
  return name ? `[name="${CSS.escape(name)}"][value="${CSS.escape(value)}"]` : undefined;
}
