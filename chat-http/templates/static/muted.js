// Rooms whose notifications the reader has turned off on this device.
import { load, save } from "./storage.js";

const MUTED = "chat.muted";

export function isMuted(room) {
  return (load(MUTED) ?? []).includes(room);
}

export function setMuted(room, muted) {
  const others = (load(MUTED) ?? []).filter((other) => other !== room);
  save(MUTED, muted ? [...others, room] : others);
  document.dispatchEvent(new CustomEvent("chat:muted"));
}
