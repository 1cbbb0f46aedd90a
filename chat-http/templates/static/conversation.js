// One open room: puts its parts together.
import { Actions } from "./actions.js";
import { Formatter, relabelDays } from "./formatter.js";
import { JumpButton } from "./jump_button.js";
import { MessageList } from "./message_list.js";
import { Names } from "./names.js";
import { startNavigation } from "./navigation.js";
import { startNotifyMenu } from "./notify_menu.js";
import { Notifier } from "./notifier.js";
import { Paginator } from "./paginator.js";
import { PendingRows } from "./pending_rows.js";
import { Picker } from "./picker.js";
import { ReadMarks, isWatched, tellRead } from "./read_marks.js";
import { RoomEvents } from "./room_events.js";
import { RowTools } from "./row_tools.js";
import { ScrollManager } from "./scroll_manager.js";
import { Status } from "./status.js";
import { Timeline } from "./timeline.js";
import { Toast } from "./toast.js";
import { Typing } from "./typing.js";
import { Writing } from "./writing.js";

const MINUTE = 60000;

export class Conversation {
  #abort = new AbortController();

  constructor(main, live) {
    const find = (selector) => main.querySelector(selector);
    const signal = this.#abort.signal;
    const list = find("#messages");
    const { room, api, last, end, change, read, owner } = list.dataset;
    Object.assign(this, { main, room, api, live, owner: owner === "true" });
    this.user = main.dataset.user || undefined;
    this.verified = main.dataset.verified === "true";

    this.events = new RoomEvents(this);
    const formatter = new Formatter(this.user);
    this.scroller = find("#scroller");
    this.scroll = new ScrollManager(this.scroller);
    this.list = new MessageList(list, formatter, this.scroll, (row) => this.events.arrive(row));
    this.timeline = new Timeline(this.list, (frame) => this.events.miss(frame));
    this.jump = new JumpButton(find("#jump"), { scroller: this.scroller, isNewest: () => this.timeline.newest, jump: () => this.toEnd(), signal });
    this.names = new Names(api);
    this.notifier = new Notifier(room);
    this.toast = new Toast(find("#toast"), signal);
    this.picker = new Picker(find("#picker"), list.dataset.emoji, signal);
    this.status = new Status(find("#status"));
    this.typing = new Typing(find("#typing"), () => live.say({ type: "typing", room }));
    this.marks = new ReadMarks(this.list, this.scroll, Number(read), (seq) => tellRead(this, seq));
    this.pending = new PendingRows(this.list, find("#pending"), formatter);
    this.actions = new Actions(this);
    const writing = find("form#composer") && new Writing(this, signal);
    this.composer = writing?.composer;
    this.outbox = writing?.outbox;
    this.tools = new RowTools(list, { template: find("#row-tools"), menu: find("#row-menu"), actions: this.actions, signal });
    startNavigation(this, signal);
    this.#open();
    this.#listen(find, list, signal);

    const place = { api, last: Number(this.timeline.newest ? last : end), change: Number(change) };
    this.unfollow = live.follow(room, place, (frame) => this.events.take(frame));
    this.status.show(live.state);
  }

  #open() {
    this.scroller.querySelectorAll(".more").forEach((more) => more.replaceChildren());
    this.list.rows().forEach((row) => this.names.add(row.dataset.sender));
    const around = new URLSearchParams(location.search).get("around");
    if (around) this.show(around);
    else this.scroll.toEnd();
    this.outbox?.resume();
    this.paginator = new Paginator(this.scroller, this.timeline, () => this.#settle());
    this.#settle();
    // A screen keyboard would hide the messages.
    if (!matchMedia("(pointer: coarse)").matches && !around) this.composer?.focus();
  }

  #listen(find, list, signal) {
    const on = (target, type, call) => target.addEventListener(type, call, { signal });
    on(this.live, "state", () => {
      const { state } = this.live;
      this.status.show(state);
      if (state === "open" || state === "polling") this.marks.resume();
      if (state === "open") this.outbox?.hurry();
      else this.typing.clear();
    });
    on(this.scroller, "scroll", () => this.marks.mark());
    on(document, "visibilitychange", () => this.#look());
    for (const type of ["focus", "blur"]) on(window, type, () => this.#look());
    for (const type of ["online", "offline"]) on(window, type, () => this.status.show(this.live.state));
    const minutes = setInterval(() => relabelDays(list), MINUTE);
    signal.addEventListener("abort", () => clearInterval(minutes));
    startNotifyMenu(find("#notify"), find("#notify-menu"), this.notifier, on);
  }

  close() {
    this.#abort.abort();
    this.unfollow();
    for (const part of [this.paginator, this.timeline, this.marks, this.outbox]) part?.close();
    this.typing.clear();
    this.notifier.seen();
  }

  // The page may not go on: the reader is somebody else now, or may not be in the room.
  end(text, label, href) {
    this.status.end(text, label, href);
    this.composer?.disable(text);
    this.outbox?.stop();
    this.typing.clear();
  }

  async toEnd() {
    await this.timeline.toNewest().catch(() => {});
    this.scroll.toEnd();
    this.#settle();
  }

  #settle() {
    this.marks.open(this.user);
    this.tools.offer(this.list.rows().at(-1));
    this.pending.settle();
    this.jump.update();
    this.marks.mark();
  }

  // Shows a message in its place.
  async show(seq) {
    if (!this.list.row(seq)) await this.timeline.open({ around: seq });
    const row = this.list.row(seq);
    if (!row) return;
    this.scroll.reveal(row);
    row.classList.remove("target");
    requestAnimationFrame(() => row.classList.add("target"));
    this.jump.update();
  }

  #look() {
    if (!isWatched()) {
      if (this.marks.read >= this.list.last) this.marks.removeLine();
      return;
    }
    this.notifier.seen();
    this.marks.mark();
    relabelDays(this.list.list);
  }
}
