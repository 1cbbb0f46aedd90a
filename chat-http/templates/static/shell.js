// The frame of every page: the list of rooms, the finder, the members, the shortcuts.
import { showTimes } from "./account.js";
import { startFinder } from "./finder.js";
import { startMembers } from "./members.js";
import { RoomList } from "./room_list.js";
import { RoomSwitch } from "./room_switch.js";

const list = document.getElementById("rooms");

if (list) {
  const rooms = new RoomList(list);
  const roomSwitch = new RoomSwitch(rooms);
  startFinder(roomSwitch);
  startMembers();
  startDrawer();
  startShortcuts();
}
showTimes(document);

// On a narrow screen the rooms lie over the page.
function startDrawer() {
  const sidebar = document.getElementById("sidebar");
  const set = (open) => document.body.classList.toggle("rooms-open", open);
  document.getElementById("open-sidebar").addEventListener("click", (event) => {
    event.preventDefault();
    set(true);
    sidebar.querySelector("a.room, a")?.focus();
  });
  document.getElementById("close-sidebar").addEventListener("click", (event) => {
    event.preventDefault();
    set(false);
    document.getElementById("open-sidebar").focus();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && set(false));
  document.addEventListener("click", (event) => sidebar.contains(event.target) || event.target.closest("#open-sidebar") || set(false));
  document.addEventListener("chat:enter", () => set(false));
}

function startShortcuts() {
  const dialog = document.getElementById("shortcuts");
  document.addEventListener("keydown", (event) => {
    if (event.key !== "?" || isTyping(event) || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}

function isTyping(event) {
  return event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select, [contenteditable]");
}
