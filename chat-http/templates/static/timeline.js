// Brings rows into the list: from live frames, from history, and again when they have changed. All
// of this runs one after the other.
import { refreshRow, refreshRows } from "./refresh.js";
import { fetchRows, parseRows } from "./request.js";
import { inSlices } from "./slices.js";

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
    const show = () => this.#append(drawn.splice(0));
    for (const frame of frames) {
      if (frame.type === "changed") {
        await show();
        await this.#applyChange(frame);
      } else if (!this.newest) {
        this.onUnseen(frame);
      } else {
        const last = drawn.length > 0 ? Number(drawn.at(-1).dataset.seq) : this.list.last;
        if (frame.html && frame.seq === last + 1) drawn.push(...parseRows(frame.html));
        else if (frame.seq > last) {
          await show();
          await this.#catchUp();
        }
      }
    }
    await show();
  }

  // `live` rows are new; the others belong to history.
  #append(rows, live = true) {
    return this.#inSlices(rows, (slice) => {
      this.list.append(slice, { live });
      this.list.trim("first");
    });
  }

  #inSlices(rows, show) {
    return inSlices(rows, (slice) => this.#closed || show(slice));
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
    else await refreshRow(this.list, this.#url, frame.seq);
  }

  async #catchUp() {
    for (let rows; !rows || rows.length === PAGE; ) {
      rows = await fetchRows(this.#url, { after: this.list.last, limit: PAGE });
      await this.#append(rows);
    }
  }

  // Brings the row of a message up to date, or all rows up to it.
  refresh(seq) {
    return this.#run(async () => {
      if (this.list.row(seq)) await refreshRow(this.list, this.#url, seq);
      else if (this.newest && seq > this.list.last) await this.#catchUp();
    });
  }

  // Draws all rows again: changes were missed that are not kept.
  refreshAll() {
    return this.#run(() => refreshRows(this.list, this.#url));
  }

  // Shows another page of history, "before" the first row or "after" the last.
  page(side) {
    return this.#run(async () => {
      const place = side === "before" ? this.list.first : this.list.last;
      const rows = await fetchRows(this.#url, { [side]: place, limit: PAGE });
      if (side === "after") {
        await this.#append(rows, false);
        this.newest = rows.length < PAGE;
        return;
      }
      // The nearest rows come first.
      await this.#inSlices(rows.reverse(), (slice) => {
        this.list.prepend(slice.reverse());
        if (this.list.trim("last")) this.newest = false;
      });
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
