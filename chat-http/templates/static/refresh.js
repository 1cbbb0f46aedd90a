// Draws rows again that are on the page.
import { fetchRows } from "./request.js";

const PAGE = 50;

export async function refreshRow(list, url, seq) {
  const [drawn] = await fetchRows(url, { after: seq - 1, limit: 1 });
  const row = list.row(seq);
  if (row && Number(drawn?.dataset.seq) === seq) list.replace(row, drawn);
}

export async function refreshRows(list, url) {
  const last = list.last;
  for (let after = list.first - 1; after < last; ) {
    const rows = await fetchRows(url, { after, limit: PAGE });
    if (rows.length === 0) return;
    for (const drawn of rows) {
      const row = list.row(drawn.dataset.seq);
      if (row) list.replace(row, drawn);
    }
    after = Number(rows.at(-1).dataset.seq);
  }
}
