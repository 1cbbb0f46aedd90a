// Names that a mention may mean: who is here, who has written, and the members of the room.

const LIMIT = 20;
const ENOUGH = 8;

export class Names {
  #api;
  #known = new Set();
  #asked = new Map();

  constructor(api) {
    this.#api = api;
  }

  add(name) {
    if (!name) return;
    // The latest speaker comes first.
    this.#known.delete(name);
    this.#known.add(name);
  }

  async find(text) {
    const wanted = text.toLowerCase();
    const matches = (name) => name.toLowerCase().startsWith(wanted);
    const known = [...this.#known].filter(matches).reverse();
    if (known.length >= ENOUGH) return known;
    const members = (await this.#members(text)).filter((name) => matches(name) && !this.#known.has(name));
    return [...known, ...members];
  }

  // Members whose names come after the text, in the order of the server.
  #members(text) {
    if (!this.#asked.has(text)) {
      const query = new URLSearchParams({ limit: LIMIT, ...(text && { after: text }) });
      const asked = fetch(`${this.#api}/users?${query}`).then((answer) => (answer.ok ? answer.json() : [])).catch(() => []);
      this.#asked.set(text, asked);
    }
    return this.#asked.get(text);
  }
}
