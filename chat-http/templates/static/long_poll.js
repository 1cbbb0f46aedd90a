// Follows a room by asking again and again, where no socket gets through.

const LIMIT = 200;
const WAIT = 25;
const PAUSE = 3000;

// Calls `on` with each frame, and with nothing when an answer has come. Returns what stops it.
export function poll(followed, on) {
  const abort = new AbortController();
  const base = followed.api;
  const ask = async (path, place, type) => {
    for (let wait = 0; !abort.signal.aborted; ) {
      try {
        const query = new URLSearchParams({ after: place(), limit: LIMIT, wait });
        const answer = await fetch(`${base}/${path}?${query}`, { signal: abort.signal });
        if (answer.status === 410) on({ type: "resync", room: followed.room });
        else if (answer.status === 403 || answer.status === 404) on({ type: "error", room: followed.room, status: answer.status });
        if (!answer.ok) throw new Error(answer.statusText);
        on();
        (await answer.json()).forEach((message) => on({ ...message, type }));
        wait = WAIT;
      } catch {
        wait = 0;
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
      }
    }
  };
  ask("messages", () => followed.last, "message");
  ask("changes", () => followed.change ?? 0, "changed");
  return () => abort.abort();
}
