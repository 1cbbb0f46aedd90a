// The rows of messages that are not stored yet.
import { t } from "./texts.js";

export class PendingRows {
  #list;
  #template;
  #formatter;
  // Pending rows that are stored as another row which has not come yet, by its `seq`.
  #awaited = new Map();

  constructor(list, template, formatter) {
    this.#list = list;
    this.#template = template;
    this.#formatter = formatter;
  }

  // Shows an entry of the outbox, or what became of it.
  show(entry, outbox) {
    const row = this.#find(entry.nonce) ?? this.#add(entry, outbox);
    const { problem } = entry;
    row.classList.toggle("failed", Boolean(problem));
    row.querySelector(".problem").hidden = !problem;
    const reason = problem?.status === 0 || problem?.status >= 500 ? t("unreachable") : problem?.detail;
    row.querySelector(".problem span").textContent = problem ? `${t("not_sent")} ${reason ?? ""}` : "";
  }

  #find(nonce) {
    return this.#list.list.querySelector(`:scope > [data-nonce="${CSS.escape(nonce)}"]`);
  }

  #add(entry, outbox) {
    const row = this.#template.content.firstElementChild.cloneNode(true);
    const at = new Date(entry.at);
    row.dataset.nonce = entry.nonce;
    row.dataset.at = at.toISOString();
    row.querySelector(".body").textContent = entry.text;
    if (entry.replyTo) row.dataset.replyTo = entry.replyTo;
    this.#formatter.formatPending(row);
    row.querySelector(".retry").addEventListener("click", () => outbox.retry(entry.nonce));
    row.querySelector(".discard").addEventListener("click", () => {
      row.remove();
      outbox.discard(entry.nonce);
    });
    this.#list.appendPending(row);
    return row;
  }

  // The pending row that a new row of the reader's own replaces.
  replacedBy(row, outbox) {
    const seq = Number(row.dataset.seq);
    const awaited = this.#awaited.get(seq);
    this.#awaited.delete(seq);
    if (awaited) return awaited;
    // It may come before the answer to the request that posted it.
    const { sending } = outbox;
    if (!sending || !row.classList.contains("own")) return undefined;
    const pending = this.#find(sending.nonce);
    return pending && plain(pending) === plain(row) ? pending : undefined;
  }

  // The entry is stored as message `seq`. Returns true if its row has not come yet.
  stored(entry, seq) {
    const pending = this.#find(entry.nonce);
    if (!pending) return false;
    pending.classList.remove("failed");
    pending.querySelector(".problem").hidden = true;
    if (this.#list.row(seq)) pending.remove();
    else this.#awaited.set(seq, pending);
    return pending.isConnected;
  }

  // The list shows other rows: what they contain is pending no more.
  settle() {
    for (const [seq, pending] of this.#awaited) {
      if (!this.#list.row(seq)) continue;
      pending.remove();
      this.#awaited.delete(seq);
    }
  }
}

// Letters alone: the server draws Markdown.
function plain(row) {
  return row.querySelector(".body").textContent.replace(/[^\p{L}\p{N}]/gu, "");
}
