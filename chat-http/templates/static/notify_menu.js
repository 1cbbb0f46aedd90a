// The menu of the bell: notifications and sound.
import { openBeside } from "./popover.js";

export function startNotifyMenu(button, menu, notifier, on) {
  const { notify, sound, mute } = Object.fromEntries([...menu.querySelectorAll("input")].map((input) => [input.name, input]));
  on(button, "click", () => {
    notify.checked = notifier.notifies;
    sound.checked = notifier.sounds;
    mute.checked = notifier.isMuted;
    openBeside(menu, button);
    notify.focus();
  });
  on(notify, "change", async () => {
    const wanted = notify.checked;
    notify.checked = await notifier.setNotifies(wanted);
    menu.querySelector(".hint").hidden = notify.checked === wanted;
  });
  on(sound, "change", () => notifier.setSounds(sound.checked));
  on(mute, "change", () => notifier.setMuted(mute.checked));
}
