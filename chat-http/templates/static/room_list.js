// The rooms beside the page: unread messages, mentions, the last message of each.
import { live } from "./connection.js";
import { isMuted } from "./muted.js";

// Each counts as much as a message of the user's when the page opens.
const MAX_FOLLOWED = 40;
const REFRESH = 60000;

export class RoomList {
  #list;
  #prefix = document.body.dataset.prefix;
  #user = document.body.dataset.user;
  #wasLost = false;

  constructor(list) {
    this.#list = list;
    this.#showTimes();
    this.#showMuted();
    document.addEventListener("chat:muted", () => this.#showMuted());
    if (!this.#user) return;
    live.watch(this.#names().slice(0, MAX_FOLLOWED));
    live.addEventListener("frame", ({ detail }) => this.#take(detail));
    live.addEventListener("state", () => this.#resume());
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
    setInterval(() => document.hidden || this.refresh(), REFRESH);
  }

  // After a connection that was lost, anything may be new.
  #resume() {
    if (live.state === "lost") this.#wasLost = true;
    if (live.state !== "open" || !this.#wasLost) return;
    this.#wasLost = false;
    this.refresh();
  }

  links() {
    return [...this.#list.querySelectorAll("a.room")];
  }

  link(room) {
    return this.links().find((link) => link.dataset.room === room);
  }

  current() {
    return this.#list.querySelector("a.room[aria-current]");
  }

  setCurrent(room) {
    this.current()?.removeAttribute("aria-current");
    const link = this.link(room);
    link?.setAttribute("aria-current", "page");
    if (room && !link) this.refresh();
  }

  #names() {
    return this.links().map((link) => link.dataset.room);
  }

  // Reads the list again: rooms come and go without a frame.
  async refresh() {
    const answer = await fetch(`${this.#prefix}/`).catch(() => undefined);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (page.body.dataset.user !== this.#user) return;
    const room = this.current()?.dataset.room ?? document.getElementById("messages")?.dataset.room;
    const rows = [...(page.getElementById("rooms")?.children ?? [])];
    const focused = document.activeElement?.dataset?.room;
    this.#list.replaceChildren(...rows);
    this.link(room)?.setAttribute("aria-current", "page");
    if (focused) this.link(focused)?.focus();
    this.#showTimes();
    this.#showMuted();
    live.watch(this.#names().slice(0, MAX_FOLLOWED));
  }

  #take(frame) {
    const link = frame.room && this.link(frame.room);
    if (!link) {
      if (frame.type === "mention") this.refresh();
      return;
    }
    if (frame.type === "message" && frame.seq > Number(link.dataset.last)) this.#arrive(link, frame);
    if (frame.type === "read") this.#count(link, Math.max(0, Number(link.dataset.last) - frame.seq), 0);
  }

  #arrive(link, { seq, sender, text, timestamp, mentions }) {
    link.dataset.last = seq;
    link.querySelector(".room-line").textContent = sender ? `${sender}: ${text.slice(0, 80)}` : "";
    link.querySelector("time").dateTime = timestamp;
    this.#showTimes();
    this.#list.prepend(link.closest("li"));
    if (sender === this.#user) return;
    const calls = mentions?.includes(this.#user) ? 1 : 0;
    this.#count(link, Number(link.dataset.unread) + 1, Number(link.dataset.mentions) + calls);
  }

  #count(link, unread, mentions) {
    Object.assign(link.dataset, { unread, mentions });
    link.classList.toggle("unread", unread > 0);
    link.classList.toggle("mentioned", mentions > 0);
    link.querySelector(".badge").hidden = unread === 0;
    const number = mentions || unread;
    link.querySelector(".number").textContent = `${mentions ? "@" : ""}${number > 99 ? "99+" : number}`;
  }

  #showMuted() {
    for (const link of this.links()) {
      const muted = isMuted(link.dataset.room);
      link.classList.toggle("muted", muted);
      link.querySelector(".mute-mark").hidden = !muted;
    }
  }

  // Today's messages have a time, the others a day.
  #showTimes() {
    const today = new Date().toDateString();
    for (const time of this.#list.querySelectorAll("time[datetime]")) {
      const date = new Date(time.dateTime);
      const style = date.toDateString() === today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
      time.textContent = date.toLocaleString(document.documentElement.lang, style);
    }
  }
}
