// The room page: opens the room in `main`, and again for each one that the shell swaps in.
import { live } from "./connection.js";
import { Conversation } from "./conversation.js";
import { Outbox } from "./outbox.js";
import { Session } from "./session.js";

let room;

function enter() {
  const main = document.getElementById("main");
  const list = main?.querySelector("#messages");
  if (!list) return;
  room = new Conversation(main, live);
}

// The shell swaps `main` when the reader goes to another room.
document.addEventListener("chat:leave", () => {
  room?.close();
  room = undefined;
});
document.addEventListener("chat:enter", enter);
enter();
// A page without the list of rooms is of nobody in particular.
if (document.getElementById("sidebar")) {
  new Session(document.body.dataset, live, (...why) => {
    Outbox.stopAll();
    room?.end(...why);
  });
}
