// Edits a message in its row.
import { surplusOf } from "./composer.js";
import { send } from "./request.js";
import { t } from "./texts.js";

// Opens the editor in a row. `done` is called when it closes, with the message if it was changed.
export async function edit(row, { template, api, done }) {
  if (row.querySelector(".editor")) return;
  const url = `${api}/messages/${row.dataset.seq}`;
  const { text } = await send("GET", url);
  const form = template.content.firstElementChild.cloneNode(true);
  const { field, error } = { field: form.elements.text, error: form.querySelector(".error") };
  const rowNow = () => form.closest(".message");
  const close = (message) => {
    const at = rowNow();
    at?.classList.remove("editing");
    form.remove();
    done(at, message);
  };
  const fail = (detail) => {
    error.hidden = false;
    error.textContent = detail;
  };
  const submit = async (event) => {
    event.preventDefault();
    const changed = field.value.trim();
    const surplus = surplusOf(changed);
    if (surplus > 0) return fail(t("text_too_long", { n: surplus }));
    if (changed === "" || changed === text) return close();
    try {
      close(await send("PATCH", url, { text: changed }));
    } catch (refused) {
      fail(refused.message || t("unreachable"));
    }
  };
  form.addEventListener("submit", submit);
  form.querySelector(".cancel").addEventListener("click", () => close());
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Escape") close();
    if (event.key === "Enter" && !event.shiftKey) submit(event);
  });
  field.value = text;
  row.classList.add("editing");
  row.append(form);
  form.scrollIntoView({ block: "nearest" });
  field.focus();
}
