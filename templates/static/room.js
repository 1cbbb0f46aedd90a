// The room page: opens the room in `main`, and again for each one that the shell swaps in.
import { Conversation } from "./conversation.js";
import { Live } from "./live.js";
import { Session } from "./session.js";

let live;
let room;

function enter() {
  const main = document.getElementById("main");
  const list = main?.querySelector("#messages");
  if (!list) return;
  live ??= new Live(list.dataset.socket);
  room = new Conversation(main, live);
}

// The shell swaps `main` when the reader goes to another room.
document.addEventListener("chat:leave", () => {
  room?.close();
  room = undefined;
});
document.addEventListener("chat:enter", enter);
enter();
if (live) new Session(document.getElementById("main").dataset, live, (...why) => room?.end(...why));
