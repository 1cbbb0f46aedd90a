// Actions of the reader on a message.
import { edit } from "./editor.js";
import { send } from "./request.js";
import { t } from "./texts.js";

export class Actions {
  #room;

  // `room` has `main`, `api`, `user`, `verified`, `owner`, `composer`, `picker`, `toast`, `timeline`.
  constructor(room) {
    this.#room = room;
  }

  allowed(row) {
    const { user, verified, owner, composer } = this.#room;
    if ("deleted" in row.dataset || row.classList.contains("leaving")) return [];
    if (!user || !composer) return ["copy"];
    const own = verified && "verified" in row.dataset && row.dataset.sender === user;
    return ["reply", "react", ...(own ? ["edit"] : []), "copy", ...(own || owner ? ["delete"] : [])];
  }

  run(name, row, anchor) {
    const actions = {
      reply: () => this.#room.composer.reply(Number(row.dataset.seq), row.dataset.sender),
      react: () => this.#room.picker.open(anchor, (emoji) => this.react(row, emoji, true)),
      edit: () => this.edit(row),
      copy: () => this.#copy(row),
      delete: () => this.#delete(row),
    };
    actions[name]?.();
  }

  async edit(row) {
    const done = (at, message) => {
      if (message) this.#room.timeline.refresh(message.seq).catch(() => {});
      if (at?.matches(":focus-within") || document.activeElement === document.body) this.#room.composer.focus();
    };
    const template = this.#room.main.querySelector("#editor");
    await edit(row, { template, api: this.#room.api, done }).catch((error) => this.#tell(error));
  }

  // Edits the last message of the reader's own. Returns false if none is in sight.
  editLast() {
    const own = this.#room.list.rows().filter((row) => this.allowed(row).includes("edit"));
    if (own.length === 0) return false;
    this.edit(own.at(-1));
    return true;
  }

  // Sets or takes back a reaction. It shows at once, and as the server has it a little later.
  async react(row, emoji, wanted) {
    const seq = Number(row.dataset.seq);
    const shown = row.querySelector(`.reaction[data-emoji="${CSS.escape(emoji)}"]`);
    if (shown && (shown.getAttribute("aria-pressed") === "true") !== wanted) {
      const count = shown.querySelector(".count");
      shown.setAttribute("aria-pressed", wanted);
      count.textContent = Number(count.textContent) + (wanted ? 1 : -1);
    }
    const url = `${this.#room.api}/messages/${seq}/reactions/${encodeURIComponent(emoji)}`;
    await send(wanted ? "PUT" : "DELETE", url).catch((error) => this.#tell(error));
    this.#room.timeline.refresh(seq).catch(() => {});
  }

  async #copy(row) {
    const { href } = row.querySelector(".at");
    try {
      await navigator.clipboard.writeText(href);
      this.#room.toast.show(t("copied"));
    } catch {
      // The clipboard is for secure pages: the address bar will do.
      location.assign(href);
    }
  }

  #delete(row) {
    const seq = Number(row.dataset.seq);
    const rowNow = () => this.#room.list.row(seq);
    row.classList.add("leaving");
    row.querySelector(".row-tools")?.remove();
    this.#room.composer.focus();
    this.#room.toast.show(t("deleted"), async (undone) => {
      if (undone) return rowNow()?.classList.remove("leaving");
      try {
        await send("DELETE", `${this.#room.api}/messages/${seq}`, undefined, { keepalive: true });
        this.#room.timeline.refresh(seq).catch(() => {});
      } catch (error) {
        rowNow()?.classList.remove("leaving");
        this.#room.toast.show(`${t("delete_failed")} ${error.message || t("unreachable")}`);
      }
    });
  }

  #tell(error) {
    this.#room.toast.show(error.message || t("unreachable"));
  }
}
