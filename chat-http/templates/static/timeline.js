// Brings rows into the list: from live frames, from history, and again when they have changed. All
// of this runs one after the other.
import { fetchRows, parseRows } from "./request.js";

const PAGE = 50;
// Messages that are shown one by one. Of more at once, as after a night, the newest are shown.
const MANY = 200;

export class Timeline {
  #url;
  #running = Promise.resolve();
  #closed = false;

  // `newest` tells if the list reaches to the end of the room. `onUnseen` is called with frames of
  // messages that come while it does not.
  constructor(list, onUnseen) {
    this.list = list;
    this.onUnseen = onUnseen;
    this.#url = list.list.dataset.rows;
    this.newest = list.list.dataset.newest === "true";
  }

  close() {
    this.#closed = true;
  }

  #run(change) {
    const result = this.#running.then(() => (this.#closed ? undefined : change()));
    this.#running = result.catch(() => {});
    return result;
  }

  // Takes live frames, `message` and `changed`, in their order. What took effect does nothing when
  // it comes again, so after an error the same frames may be given once more.
  take(frames) {
    return this.#run(() => this.#apply(frames));
  }

  async #apply(frames) {
    const missed = this.newest ? frames.filter((frame) => frame.type === "message" && frame.seq > this.list.last) : [];
    if (missed.length > MANY) await this.#skip();
    // Rows that follow each other are shown in one step.
    let drawn = [];
    const show = () => this.list.append(drawn.splice(0));
    for (const frame of frames) {
      if (frame.type === "changed") {
        show();
        await this.#applyChange(frame);
      } else if (!this.newest) {
        this.onUnseen(frame);
      } else {
        const last = drawn.length > 0 ? Number(drawn.at(-1).dataset.seq) : this.list.last;
        if (frame.html && frame.seq === last + 1) drawn.push(...parseRows(frame.html));
        else if (frame.seq > last) {
          show();
          await this.#catchUp();
        }
      }
    }
    show();
    this.list.trim("first");
  }

  // Gives up to follow one by one: at the end the newest rows are shown, elsewhere the rest is
  // history that is still to come.
  async #skip() {
    if (this.list.atEnd) this.list.reset(await fetchRows(this.#url, { limit: PAGE }));
    else this.newest = false;
  }

  async #applyChange(frame) {
    const row = this.list.row(frame.seq);
    if (!row || Number(row.dataset.change) >= frame.change) return;
    if (frame.html) this.list.replace(row, parseRows(frame.html)[0]);
    else await this.#refreshRow(frame.seq);
  }

  async #catchUp() {
    for (let rows; !rows || rows.length === PAGE; ) {
      rows = await fetchRows(this.#url, { after: this.list.last, limit: PAGE });
      this.list.append(rows);
      this.list.trim("first");
    }
  }

  // Brings the row of a message up to date, or all rows up to it.
  refresh(seq) {
    return this.#run(async () => {
      if (this.list.row(seq)) await this.#refreshRow(seq);
      else if (this.newest && seq > this.list.last) await this.#catchUp();
    });
  }

  async #refreshRow(seq) {
    const [drawn] = await fetchRows(this.#url, { after: seq - 1, limit: 1 });
    const row = this.list.row(seq);
    if (row && Number(drawn?.dataset.seq) === seq) this.list.replace(row, drawn);
  }

  // Draws all rows again: changes were missed that are not kept.
  refreshAll() {
    return this.#run(async () => {
      const last = this.list.last;
      for (let after = this.list.first - 1; after < last; ) {
        const rows = await fetchRows(this.#url, { after, limit: PAGE });
        if (rows.length === 0) return;
        for (const drawn of rows) {
          const row = this.list.row(drawn.dataset.seq);
          if (row) this.list.replace(row, drawn);
        }
        after = Number(rows.at(-1).dataset.seq);
      }
    });
  }

  // Shows another page of history, "before" the first row or "after" the last.
  page(side) {
    return this.#run(async () => {
      const place = side === "before" ? this.list.first : this.list.last;
      const rows = await fetchRows(this.#url, { [side]: place, limit: PAGE });
      if (side === "before") {
        this.list.prepend(rows);
        if (this.list.trim("last")) this.newest = false;
      } else {
        this.list.append(rows, { live: false });
        this.newest = rows.length < PAGE;
        this.list.trim("first");
      }
      return rows.length;
    });
  }

  // Shows the rows around a message, or the newest ones.
  open(query = {}) {
    return this.#run(async () => {
      const rows = await fetchRows(this.#url, { limit: PAGE, ...query });
      this.newest = !query.around;
      this.list.reset(rows);
    });
  }

  // Goes to the end of the room, if the list does not reach to it.
  toNewest() {
    return this.newest ? Promise.resolve() : this.open();
  }
}
