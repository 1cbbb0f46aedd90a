// The one connection of the page, which opens with the first room that is followed.
import { Live } from "./live.js";

export const live = new Live(document.body.dataset.socket ?? "/ws");
