// Ends the page when its user changes: by a log-out or a log-in in another tab, or because the
// session has ended.
import { Tabs } from "./tabs.js";
import { t } from "./texts.js";

export class Session {
  #prefix;
  #user;
  #accounts;
  #logIn;
  #live;
  #end;

  constructor({ prefix, user, accounts, logIn }, live, end) {
    this.#prefix = prefix;
    this.#user = user;
    this.#accounts = accounts === "true";
    this.#logIn = logIn;
    this.#live = live;
    this.#end = end;
    new Tabs(prefix, user).addEventListener("identity", ({ detail }) => this.#changed(detail.user));
    live.addEventListener("fail", () => this.#check());
    live.addEventListener("frame", ({ detail }) => detail.type === "error" && detail.status === 401 && this.#check());
  }

  // A socket that does not open may be one that the server refuses.
  async #check() {
    if (!this.#user) return;
    // A program's own users have no `/auth/me`; the list of a user's rooms is for that user alone.
    const path = this.#accounts ? "/auth/me" : `/users/${encodeURIComponent(this.#user)}/rooms?limit=1`;
    const answer = await fetch(`${this.#prefix}${path}`).catch(() => undefined);
    if (answer?.status === 401 || answer?.status === 403) return this.#changed("");
    if (!answer?.ok || !this.#accounts) return;
    const { username } = await answer.json();
    if (username !== this.#user) this.#changed(username);
  }

  #changed(user) {
    if (user === this.#user) return;
    this.#live.end();
    if (user) this.#end(t("identity_changed", { name: user }), t("reload"), location.href);
    else if (this.#logIn) this.#end(t("session_ended"), t("log_in"), this.#logIn.replace("{next}", encodeURIComponent(this.#path())));
    else this.#end(t("session_ended"), t("reload"), location.href);
  }

  // Address that the log-in leads back to.
  #path() {
    return location.pathname.slice(this.#prefix.length);
  }
}
