// localStorage that never throws: it may be full, or switched off.

export function load(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

export function save(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // The page works without; only a reload forgets.
  }
}

export function loadAll(prefix) {
  try {
    return Object.keys(localStorage).filter((key) => key.startsWith(prefix)).map(load).filter(Boolean);
  } catch {
    return [];
  }
}
