// The words of the pages, in the language of the page.
const texts = JSON.parse(document.getElementById("texts")?.textContent ?? "{}");

export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}
