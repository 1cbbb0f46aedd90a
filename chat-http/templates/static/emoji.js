// Emoji by name, loaded when they are first wanted.

let loading;

export function loadEmoji(url) {
  loading ??= fetch(url)
    .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText))))
    .then((emoji) => Object.entries(emoji))
    .catch(() => {
      loading = undefined;
      return [];
    });
  return loading;
}

// Pairs of name and emoji, those that begin with the text first. An emoji with several names, as in
// other languages than English, comes once.
export function findEmoji(emoji, text) {
  const wanted = text.toLowerCase();
  const begins = emoji.filter(([name]) => name.startsWith(wanted));
  const within = emoji.filter(([name]) => !name.startsWith(wanted) && name.includes(wanted));
  const found = new Set();
  return [...begins, ...within].filter(([, sign]) => !found.has(sign) && found.add(sign));
}
