// One room in the list beside the page.
import { isMuted } from "./muted.js";

const clock = new Intl.DateTimeFormat(navigator.languages, { timeStyle: "short" });
const day = new Intl.DateTimeFormat(document.documentElement.lang, { day: "numeric", month: "short" });

export function isInvitation(link) {
  return link.closest("#invitations") !== null;
}

// The last message. What was polled for comes without its line.
export function showLine(link, { sender, text, line = text }) {
  link.querySelector(".room-line").textContent = sender ? `${sender}: ${line}` : "";
}

// Today's messages have a time, the others a day.
export function showTime(link) {
  const time = link.querySelector("time[datetime]");
  if (!time) return;
  const date = new Date(time.dateTime);
  const isToday = date.toDateString() === new Date().toDateString();
  time.textContent = isToday ? clock.format(date) : day.format(date);
}

export function countUnread(link, unread, mentions) {
  Object.assign(link.dataset, { unread, mentions });
  link.classList.toggle("unread", unread > 0);
  link.classList.toggle("mentioned", mentions > 0);
  link.querySelector(".badge").hidden = unread === 0;
  const number = mentions || unread;
  link.querySelector(".number").textContent = `${mentions ? "@" : ""}${number > 99 ? "99+" : number}`;
}

export function showMuted(link) {
  const muted = isMuted(link.dataset.room);
  link.classList.toggle("muted", muted);
  link.querySelector(".mute-mark").hidden = !muted;
}
