// Work on many rows, a few at a time: in between the browser takes what the reader does.

// Rows that are formatted and laid out in a few milliseconds.
const SLICE = 10;

export async function inSlices(rows, show) {
  for (let at = 0; at < rows.length; at += SLICE) {
    if (at > 0) await pause();
    show(rows.slice(at, at + SLICE));
  }
}

function pause() {
  return globalThis.scheduler?.yield?.() ?? new Promise((resolve) => setTimeout(resolve));
}
