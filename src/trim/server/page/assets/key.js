// The entered key, kept until the tab is closed.

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
