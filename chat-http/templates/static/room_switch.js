// Goes from room to room without loading the page anew: `main` is replaced, the rest stays.

const CACHED = 20;

export class RoomSwitch {
  #rooms;
  #scrolls = new Map();
  #loading;
  #at = location.href;

  constructor(rooms) {
    this.#rooms = rooms;
    history.scrollRestoration = "manual";
    document.addEventListener("click", (event) => this.#click(event));
    document.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("popstate", () => this.#popped());
  }

  // Shows the page at an address of this site.
  async open(href, { push = true } = {}) {
    const url = new URL(href, location.href);
    this.#loading?.abort();
    const loading = (this.#loading = new AbortController());
    try {
      const answer = await fetch(url, { headers: { "x-chat-part": "main", accept: "text/html" }, signal: loading.signal });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (loading.signal.aborted) return;
      const main = page.getElementById("main");
      // A log-in, or another version of the pages: from the beginning.
      if (answer.redirected || !main || page.body.dataset.user !== document.body.dataset.user) throw new Error("another page");
      this.#show(url, main, page.title, push);
    } catch (error) {
      if (error.name !== "AbortError") location.assign(url);
    }
  }

  #show(url, main, title, push) {
    this.#remember();
    document.dispatchEvent(new CustomEvent("chat:leave"));
    document.getElementById("main").replaceWith(main);
    document.title = title;
    if (push && url.href !== location.href) history.pushState(null, "", url);
    this.#at = location.href;
    document.dispatchEvent(new CustomEvent("chat:enter"));
    const list = main.querySelector("#messages");
    this.#rooms.setCurrent(list?.dataset.room);
    if (!push) this.#restore(main);
    if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });
  }

  #scroller() {
    return document.querySelector("#main #scroller") ?? document.scrollingElement;
  }

  #remember() {
    this.#scrolls.delete(this.#at);
    this.#scrolls.set(this.#at, this.#scroller().scrollTop);
    if (this.#scrolls.size > CACHED) this.#scrolls.delete(this.#scrolls.keys().next().value);
  }

  #restore() {
    const top = this.#scrolls.get(this.#at);
    if (top !== undefined) this.#scroller().scrollTop = top;
  }

  #popped() {
    const [from] = this.#at.split("#");
    const [to] = location.href.split("#");
    if (from !== to) this.open(location.href, { push: false });
  }

  #click(event) {
    if (event.defaultPrevented || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest("a.room, a[data-open]");
    if (!link) return;
    event.preventDefault();
    this.open(link.href);
  }

  // Alt and an arrow go to the next room.
  #key(event) {
    if (!event.altKey || event.ctrlKey || event.metaKey || !["ArrowUp", "ArrowDown"].includes(event.key)) return;
    const links = this.#rooms.links().filter((link) => link.checkVisibility());
    const at = links.indexOf(this.#rooms.current());
    const next = links[at + (event.key === "ArrowUp" ? -1 : 1)];
    if (!next) return;
    event.preventDefault();
    this.open(next.href);
  }
}
