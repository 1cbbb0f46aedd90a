// The rooms beside the page: unread messages, mentions, the last message of each.
import { live } from "./connection.js";
import { countUnread, isInvitation, showLine, showMuted, showTime } from "./room_row.js";

// Each counts as much as a message of the user's when the page opens.
const MAX_FOLLOWED = 40;
const REFRESH = 60000;
// Milliseconds before the list is read once more, so that many new rooms cost one request.
const REST = 2000;

export class RoomList {
  #list;
  #prefix = document.body.dataset.prefix;
  #user = document.body.dataset.user;
  #wasLost = false;
  #refreshed = -Infinity;
  #timer;

  constructor(list) {
    this.#list = list;
    this.links().forEach(showTime);
    this.links().forEach(showMuted);
    document.addEventListener("chat:muted", () => this.links().forEach(showMuted));
    if (!this.#user) return;
    this.#watch();
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
    if (link) this.#markCurrent(link);
    if (room && !link) this.refresh();
  }

  // An invitation that was opened is a room like any other.
  #markCurrent(link) {
    link.setAttribute("aria-current", "page");
    if (isInvitation(link)) this.#moveUp(link);
  }

  #moveUp(link) {
    const invitations = link.closest("#invitations");
    this.#list.querySelector("ul").prepend(link.closest("li"));
    if (!invitations) return;
    const left = invitations.querySelectorAll("li").length;
    invitations.querySelector("summary .number").textContent = left;
    invitations.hidden = left === 0;
  }

  // Of the invitations only people who may write are followed.
  #watch() {
    const [joined, invitations] = [[], []];
    for (const link of this.links()) (isInvitation(link) ? invitations : joined).push(link);
    const links = [...joined.slice(0, MAX_FOLLOWED), ...invitations.filter((link) => "direct" in link.dataset)];
    live.watch(links.map((link) => link.dataset.room));
  }

  #refreshSoon() {
    this.#timer ??= setTimeout(() => this.refresh(), Math.max(0, this.#refreshed + REST - performance.now()));
  }

  // Reads the list again.
  async refresh() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#refreshed = performance.now();
    const answer = await fetch(`${this.#prefix}/`).catch(() => undefined);
    if (!answer?.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (page.body.dataset.user !== this.#user) return;
    const room = this.current()?.dataset.room ?? document.getElementById("messages")?.dataset.room;
    const rows = [...(page.getElementById("rooms")?.children ?? [])];
    const focused = document.activeElement?.dataset?.room;
    const isOpen = this.#list.querySelector("#invitations")?.open ?? false;
    const before = new Map(this.links().map(({ dataset }) => [dataset.room, Number(dataset.last)]));
    this.#list.replaceChildren(...rows);
    this.#list.querySelector("#invitations")?.toggleAttribute("open", isOpen);
    const current = this.link(room);
    if (current) this.#markCurrent(current);
    if (focused) this.link(focused)?.focus();
    this.links().forEach(showTime);
    this.links().forEach(showMuted);
    this.#watch();
    // A message came while the list was on its way.
    if (this.links().some(({ dataset }) => before.get(dataset.room) > Number(dataset.last))) this.#refreshSoon();
  }

  #take(frame) {
    if (frame.type === "rooms") return this.#refreshSoon();
    const link = frame.room && this.link(frame.room);
    if (!link) {
      if (frame.type === "mention") this.#refreshSoon();
      return;
    }
    const last = Number(link.dataset.last);
    // A message came before the room was followed. Those of the open room come yet.
    if (frame.type === "subscribed" && frame.last_seq > last && link !== this.current()) this.#refreshSoon();
    if (frame.type === "message" && frame.seq > last) this.#arrive(link, frame);
    if (frame.type === "changed" && frame.seq === last) showLine(link, frame);
    if (frame.type === "read") countUnread(link, Math.max(0, Number(link.dataset.last) - frame.seq), 0);
  }

  #arrive(link, frame) {
    const { seq, sender, timestamp, mentions } = frame;
    link.dataset.last = seq;
    showLine(link, frame);
    link.querySelector("time").dateTime = timestamp;
    showTime(link);
    if (!isInvitation(link) || "direct" in link.dataset) this.#moveUp(link);
    if (sender === this.#user) return;
    const calls = mentions?.includes(this.#user) ? 1 : 0;
    countUnread(link, Number(link.dataset.unread) + 1, Number(link.dataset.mentions) + calls);
  }
}
