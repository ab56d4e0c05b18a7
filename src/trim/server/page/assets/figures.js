// Number formats.

export function percent(share, digits = 0) {
  return share == null ? "–" : `${(100 * share).toFixed(digits)}\u00a0%`;
}

// The cost of one problem is often far below a cent.
export function money(amount) {
  if (amount === 0) return "0";
  return amount >= 1 ? amount.toFixed(2) : Number(amount.toPrecision(3)).toString();
}

export function seconds(time) {
  if (time == null) return "–";
  return time < 1 ? `${Math.round(1000 * time)} ms` : `${time.toFixed(time < 10 ? 2 : 1)} s`;
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// The difference of `part` relative to `whole`.
export function difference(part, whole) {
  if (!whole) return "–";
  const ratio = part / whole;
  if (ratio >= 2) return `${ratio.toFixed(1)} times`;
  const change = Math.round(100 * (ratio - 1));
  if (change === 0) return "the same";
  return change < 0 ? `${-change}\u00a0% less` : `${change}\u00a0% more`;
}
