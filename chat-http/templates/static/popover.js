// Opens a popover beside an element, inside the window, and gives the focus back.

const GAP = 4;

export function openBeside(popover, anchor) {
  popover.showPopover();
  const from = anchor.getBoundingClientRect();
  const box = popover.getBoundingClientRect();
  const rtl = getComputedStyle(anchor).direction === "rtl";
  const left = rtl ? from.left : from.right - box.width;
  const below = from.bottom + GAP;
  const top = below + box.height > innerHeight ? from.top - box.height - GAP : below;
  popover.style.left = `${clamp(left, innerWidth - box.width)}px`;
  popover.style.top = `${clamp(top, innerHeight - box.height)}px`;
}

function clamp(at, most) {
  return Math.max(GAP, Math.min(at, most - GAP));
}

// Moves the focus among the children of a menu or a grid of buttons.
export function moveByKeys(event, buttons) {
  const at = buttons.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (step) buttons.at((at + step) % buttons.length).focus();
  else if (event.key === "Home") buttons[0].focus();
  else if (event.key === "End") buttons.at(-1).focus();
  else return;
  event.preventDefault();
}
