// Watches whether the page is still used by who opened it: a log-out or a log-in in another tab,
// and a session that has ended, end the page.
import { Tabs } from "./tabs.js";
import { t } from "./texts.js";

export class Session {
  #prefix;
  #user;
  #live;
  #end;

  constructor({ prefix, user }, live, end) {
    this.#prefix = prefix;
    this.#user = user;
    this.#live = live;
    this.#end = end;
    new Tabs(prefix, user).addEventListener("identity", ({ detail }) => this.#changed(detail.user));
    live.addEventListener("fail", () => this.#check());
    live.addEventListener("frame", ({ detail }) => detail.type === "error" && detail.status === 401 && this.#check());
  }

  // A socket that does not open may be one that the server refuses.
  async #check() {
    if (!this.#user) return;
    const answer = await fetch(`${this.#prefix}/auth/me`).catch(() => undefined);
    if (answer?.status === 401) return this.#changed("");
    if (!answer?.ok) return;
    const { username } = await answer.json();
    if (username !== this.#user) this.#changed(username);
  }

  #changed(user) {
    if (user === this.#user) return;
    this.#live.end();
    if (user) this.#end(t("identity_changed", { name: user }), t("reload"), location.href);
    else this.#end(t("session_ended"), t("log_in"), `${this.#prefix}/login?next=${encodeURIComponent(this.#path())}`);
  }

  // Where the log-in leads back to.
  #path() {
    return location.pathname.slice(this.#prefix.length);
  }
}
