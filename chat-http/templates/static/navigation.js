// Clicks in the list, and keys anywhere.

// `room` has `list`, `scroller`, `composer`, `actions`, and `show(seq)`.
export function startNavigation(room, signal) {
  room.list.list.addEventListener("click", (event) => click(room, event), { signal });
  document.addEventListener("keydown", (event) => key(room, event), { signal });
}

function click(room, event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  const reaction = event.target.closest(".reaction");
  const link = event.target.closest(".quote, .at");
  if (reaction && room.composer) {
    const pressed = reaction.getAttribute("aria-pressed") === "true";
    room.actions.react(reaction.closest(".message"), reaction.dataset.emoji, !pressed);
  } else if (link?.href) {
    room.show(new URL(link.href).searchParams.get("around")).catch(() => {});
  } else if (!reaction) {
    return;
  }
  event.preventDefault();
}

// Text that is typed outside of any field goes into the composer; Escape moves the focus there.
function key(room, event) {
  const focused = document.activeElement;
  const idle = focused === document.body || focused === room.scroller;
  const types = event.key.length === 1 && !["?", " "].includes(event.key);
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  const leaves = event.key === "Escape" && focused.matches(".message");
  if ((idle && types && plain) || leaves) room.composer?.focus();
}
