// Finds a room by typing a part of its name.
import { t } from "./texts.js";

const SHOWN = 12;

export function startFinder(roomSwitch) {
  const dialog = document.getElementById("finder");
  const finder = new Finder(dialog, roomSwitch);
  document.getElementById("find").addEventListener("click", (event) => {
    event.preventDefault();
    finder.open();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || event.key.toLowerCase() !== "k") return;
    event.preventDefault();
    if (dialog.open) dialog.close();
    else finder.open();
  });
}

class Finder {
  #dialog;
  #switch;
  #input;
  #list;
  #hint;
  #rooms = [];
  #at = 0;

  constructor(dialog, roomSwitch) {
    this.#dialog = dialog;
    this.#switch = roomSwitch;
    this.#input = dialog.querySelector("input");
    this.#list = dialog.querySelector("ul");
    this.#hint = dialog.querySelector(".hint");
    this.#input.addEventListener("input", () => this.#show());
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    dialog.addEventListener("click", (event) => this.#click(event));
  }

  async open() {
    this.#input.value = "";
    // Those beside the page first: they are what is looked for most.
    this.#rooms = [...document.querySelectorAll("#rooms a.room")].map(({ href, dataset }) => ({ href, label: dataset.label, room: dataset.room }));
    this.#show();
    this.#dialog.showModal();
    const { prefix } = document.body.dataset;
    const answer = await fetch(`${prefix}/chat/`).catch(() => undefined);
    if (!answer?.ok) return;
    const known = new Set(this.#rooms.map(({ room }) => room));
    const others = (await answer.json()).filter((room) => !known.has(room));
    this.#rooms.push(...others.map((room) => ({ room, label: room, href: `${prefix}/rooms/${encodeURIComponent(room)}` })));
    this.#show();
  }

  #show() {
    const wanted = this.#input.value.trim().toLowerCase();
    const starts = ({ label }) => (label.toLowerCase().startsWith(wanted) ? 0 : 1);
    const found = this.#rooms.filter(({ label }) => label.toLowerCase().includes(wanted));
    if (wanted) found.sort((a, b) => starts(a) - starts(b));
    this.#list.replaceChildren(...found.slice(0, SHOWN).map((room, i) => option(room, i)));
    this.#hint.textContent = found.length ? "" : t("no_match");
    this.#choose(0);
  }

  #choose(at) {
    const options = [...this.#list.children];
    this.#at = Math.max(0, Math.min(at, options.length - 1));
    options.forEach((item, i) => item.setAttribute("aria-selected", String(i === this.#at)));
    const chosen = options[this.#at];
    if (chosen) this.#input.setAttribute("aria-activedescendant", chosen.id);
    else this.#input.removeAttribute("aria-activedescendant");
    chosen?.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    if (event.key === "ArrowDown") this.#choose(this.#at + 1);
    else if (event.key === "ArrowUp") this.#choose(this.#at - 1);
    else if (event.key === "Enter" && !event.isComposing) this.#go(this.#list.children[this.#at]);
    else return;
    event.preventDefault();
  }

  #click(event) {
    if (event.target === this.#dialog) this.#dialog.close();
    else this.#go(event.target.closest("li"));
  }

  #go(item) {
    if (!item) return;
    this.#dialog.close();
    this.#switch.open(item.dataset.href);
  }
}

function option({ label, href }, i) {
  const item = document.createElement("li");
  item.id = `found-${i}`;
  item.role = "option";
  item.dir = "auto";
  item.dataset.href = href;
  item.textContent = label;
  return item;
}
