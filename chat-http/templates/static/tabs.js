// Messages between the tabs of one browser: who is logged in. Read marks come from the server.

export class Tabs extends EventTarget {
  #channel;

  // Fires "identity" with the user that another tab was opened as.
  constructor(prefix, user) {
    super();
    this.#channel = new BroadcastChannel(`chat${prefix}`);
    this.#channel.onmessage = ({ data }) => {
      if (data.type !== "identity" || data.user !== user) this.dispatchEvent(new CustomEvent(data.type, { detail: data }));
    };
    this.say({ type: "identity", user });
    // A page that comes back from the cache may be of another user.
    addEventListener("pageshow", (event) => event.persisted && location.reload());
  }

  say(message) {
    this.#channel.postMessage(message);
  }
}
