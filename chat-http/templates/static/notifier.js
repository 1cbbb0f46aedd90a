// Notifies of messages while the page is in the background: title, icon, notification, sound.
import { isMuted, setMuted } from "./muted.js";
import { isWatched } from "./read_marks.js";
import { load, save } from "./storage.js";

// Another tab may show the message: it says so within a second.
const PATIENCE = 1500;

const icon = document.querySelector("link[rel=icon]");
const plainIcon = icon?.href;

export class Notifier {
  #room;
  #unread = 0;
  #timer;
  #audio;

  constructor(room) {
    this.#room = room;
  }

  get notifies() {
    return load("chat.notify") === true && globalThis.Notification?.permission === "granted";
  }

  get sounds() {
    return load("chat.sound") !== false;
  }

  get isMuted() {
    return isMuted(this.#room);
  }

  setMuted(wanted) {
    setMuted(this.#room, wanted);
    if (wanted) this.seen();
  }

  // Asks for permission, if it has to. Returns true if notifications are shown from now on.
  async setNotifies(wanted) {
    if (wanted && globalThis.Notification?.permission === "default") await Notification.requestPermission();
    save("chat.notify", wanted);
    return this.notifies;
  }

  setSounds(wanted) {
    save("chat.sound", wanted);
    if (wanted) this.#play();
  }

  // A message came. `calls` tells if it concerns the reader.
  message({ sender, text, calls }) {
    if (isWatched() || this.isMuted) return;
    this.#unread += 1;
    this.#badge();
    if (!calls || this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.sounds) this.#play();
      if (this.notifies) this.#show(sender, text);
    }, PATIENCE);
  }

  // The reader has seen all, here or in another tab.
  seen() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#unread === 0) return;
    this.#unread = 0;
    this.#badge();
  }

  #badge() {
    const title = document.title.replace(/^\(\d+\+?\) /, "");
    const count = this.#unread > 99 ? "99+" : this.#unread;
    document.title = this.#unread > 0 ? `(${count}) ${title}` : title;
    if (icon) icon.href = this.#unread > 0 ? icon.dataset.unread ?? plainIcon : plainIcon;
  }

  #show(sender, text) {
    const shown = new Notification(`${sender} · ${this.#room}`, { body: text, tag: `chat/${this.#room}`, icon: plainIcon });
    shown.onclick = () => {
      window.focus();
      shown.close();
    };
  }

  // Two short soft tones.
  #play() {
    this.#audio ??= new AudioContext();
    const start = this.#audio.currentTime;
    [660, 880].forEach((frequency, i) => {
      const tone = new OscillatorNode(this.#audio, { frequency });
      const volume = new GainNode(this.#audio, { gain: 0 });
      volume.gain.setTargetAtTime(0.08, start + i * 0.12, 0.01);
      volume.gain.setTargetAtTime(0, start + i * 0.12 + 0.08, 0.04);
      tone.connect(volume).connect(this.#audio.destination);
      tone.start(start + i * 0.12);
      tone.stop(start + i * 0.12 + 0.4);
    });
  }
}
