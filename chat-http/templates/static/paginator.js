// Loads history as the reader comes near an end of the list.

const MARGIN = "800px 0px";
const PAUSE = 2000;
const QUIET = 1000;

export class Paginator {
  #observer;
  #ends = new Map();
  #visible = new Set();
  #loading = false;

  // `onLoaded` is called after each page.
  constructor(scroller, timeline, onLoaded) {
    this.onLoaded = onLoaded;
    this.timeline = timeline;
    this.scroller = scroller;
    const [top, bottom] = scroller.querySelectorAll(".more");
    this.#ends.set(top, "before").set(bottom, "after");
    this.#observer = new IntersectionObserver((entries) => this.#look(entries), { root: scroller, rootMargin: MARGIN });
    this.#ends.forEach((side, end) => this.#observer.observe(end));
  }

  close() {
    this.#observer.disconnect();
  }

  #look(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#visible.add(target);
      else this.#visible.delete(target);
    }
    this.#load();
  }

  #wanted() {
    const { list, newest } = this.timeline;
    const has = { before: list.first > 1, after: !newest };
    return [...this.#visible].find((end) => has[this.#ends.get(end)]);
  }

  async #load() {
    const end = this.#loading ? undefined : this.#wanted();
    if (!end) return;
    this.#loading = true;
    // History is not read out.
    this.scroller.ariaLive = "off";
    try {
      await this.timeline.page(this.#ends.get(end));
      this.onLoaded();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    this.#loading = false;
    setTimeout(() => this.#loading || (this.scroller.ariaLive = "polite"), QUIET);
    // It may still be in sight, of which the observer says nothing.
    this.#observer.unobserve(end);
    this.#observer.observe(end);
  }
}
