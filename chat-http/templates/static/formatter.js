// Arranges rows that the server has drawn: local times, groups, days, and what concerns the reader.
import { t } from "./texts.js";

// Links of a row besides those of its text.
export const ROW_LINKS = ".at, .menu, .quote, .reaction";

const GROUP = 5 * 60 * 1000;
const LONG_TEXT = 1600;
const MANY_LINES = 18;
const EMOJI_ONLY = /^(?:\p{Extended_Pictographic}(?:\uFE0F|\p{Emoji_Modifier}|\u200D\p{Extended_Pictographic})*){1,3}$/u;

const locale = document.documentElement.lang || undefined;
const short = new Intl.DateTimeFormat(navigator.languages, { timeStyle: "short" });
const exact = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "medium" });
const dayName = new Intl.DateTimeFormat(locale, { weekday: "long", day: "numeric", month: "long" });
const dayAndYear = new Intl.DateTimeFormat(locale, { dateStyle: "long" });

export class Formatter {
  #user;

  constructor(user) {
    this.#user = user;
  }

  // Marks that depend on the row alone.
  format(row) {
    const { sender, mentions = "" } = row.dataset;
    const time = row.querySelector(".at time");
    const at = new Date(row.dataset.at);
    time.textContent = short.format(at);
    time.parentElement.title = exact.format(at);
    this.#place(row);
    if (this.#user) {
      row.classList.toggle("own", sender === this.#user);
      row.classList.toggle("mentions-me", sender !== this.#user && mentions.split(" ").includes(this.#user));
    }
    // Tab leads into one row alone, which `RowTools` says.
    row.querySelectorAll(ROW_LINKS).forEach((part) => (part.tabIndex = -1));
    this.#formatBody(row);
    row.querySelectorAll(".reaction").forEach((reaction) => this.#formatReaction(reaction));
  }

  // A row that is not stored yet.
  formatPending(row) {
    row.querySelector(".at time").textContent = short.format(new Date(row.dataset.at));
    this.#place(row);
  }

  #place(row) {
    const at = new Date(row.dataset.at);
    row.at = at.getTime();
    row.day = at.toDateString();
    row.tabIndex = -1;
  }

  #formatBody(row) {
    const body = row.querySelector(".body");
    for (const mention of body.querySelectorAll(".mention")) {
      mention.classList.toggle("me", mention.dataset.user === this.#user);
    }
    for (const link of body.querySelectorAll("a[href]")) link.target = "_blank";
    const text = body.textContent;
    if (text.length <= 24 && EMOJI_ONLY.test(text.trim())) row.classList.add("jumbo");
    const lines = body.querySelectorAll("br, p, li, pre").length + (body.querySelector("pre") ? text.split("\n").length : 0);
    if (text.length > LONG_TEXT || lines > MANY_LINES) this.#fold(row, body);
  }

  #fold(row, body) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    const show = (folded) => {
      row.classList.toggle("folded", folded);
      button.textContent = t(folded ? "show_more" : "show_less");
      button.setAttribute("aria-expanded", !folded);
    };
    button.addEventListener("click", () => show(!row.classList.contains("folded")));
    show(true);
    body.after(button);
  }

  #formatReaction(reaction) {
    const users = reaction.dataset.users.split(" ");
    const others = Number(reaction.querySelector(".count").textContent) - users.length;
    const names = others > 0 ? [...users, t("and_others", { n: others })] : users;
    reaction.title = names.join(", ");
    reaction.setAttribute("role", "button");
    reaction.setAttribute("aria-label", `${reaction.dataset.emoji}: ${names.join(", ")}`);
    reaction.setAttribute("aria-pressed", users.includes(this.#user));
  }

  // Marks that depend on the row before: groups and days.
  thread(row) {
    const line = row.previousElementSibling?.matches(".new-line") ? row.previousElementSibling : null;
    const above = (line ?? row).previousElementSibling;
    const separator = above?.matches(".day") ? above : null;
    const before = separator ? separator.previousElementSibling : above;

    const newDay = !before || before.day !== row.day;
    if (newDay && !separator) (line ?? row).before(daySeparator(row));
    else if (newDay) labelDay(separator, row);
    else separator?.remove();

    const same = !newDay && !line && before.dataset.sender === row.dataset.sender && !row.dataset.replyTo;
    const plain = !("deleted" in row.dataset) && !("deleted" in (before?.dataset ?? {}));
    const level = before && "verified" in before.dataset === "verified" in row.dataset;
    row.classList.toggle("joins", Boolean(same && plain && level && row.at - before.at < GROUP));
  }
}

function daySeparator(row) {
  const separator = document.createElement("li");
  separator.className = "day";
  separator.append(document.createElement("span"));
  labelDay(separator, row);
  return separator;
}

function labelDay(separator, row) {
  const [today, yesterday] = [new Date(), new Date()];
  yesterday.setDate(today.getDate() - 1);
  const at = new Date(row.at);
  const format = at.getFullYear() === today.getFullYear() ? dayName : dayAndYear;
  let label = format.format(at);
  if (row.day === today.toDateString()) label = t("today");
  else if (row.day === yesterday.toDateString()) label = t("yesterday");
  separator.firstChild.textContent = label;
}

// Names the days again; "Today" ends at midnight.
export function relabelDays(list) {
  for (const separator of list.querySelectorAll(".day")) {
    let row = separator.nextElementSibling;
    while (row && !row.matches(".message")) row = row.nextElementSibling;
    if (row) labelDay(separator, row);
  }
}
