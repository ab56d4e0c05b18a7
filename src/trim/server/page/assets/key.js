// The key that was typed in, kept as long as the tab is open.

const NAME = "trim-key";

export function remembered() {
  return sessionStorage.getItem(NAME) ?? "";
}

export function remember(key) {
  if (key) sessionStorage.setItem(NAME, key);
  else sessionStorage.removeItem(NAME);
}

export function authorization() {
  const key = remembered();
  return key ? { Authorization: `Bearer ${key}` } : {};
}
