// Number formats.

let currency = "USD";

// The code of the currency of all money, as ISO 4217 has it.
export function payIn(code) {
  currency = code;
}

export function percent(share, digits = 0) {
  return share == null ? "–" : `${(100 * share).toFixed(digits)}\u00a0%`;
}

// The cost of one problem is often far below a cent.
export function money(amount) {
  const digits = Math.abs(amount) >= 1 || amount === 0
    ? { minimumFractionDigits: 2, maximumFractionDigits: 2 } : { maximumSignificantDigits: 3 };
  return amount.toLocaleString("en", { style: "currency", currency, currencyDisplay: "narrowSymbol", ...digits });
}

export function seconds(time) {
  if (time == null) return "–";
  return time < 1 ? `${Math.round(1000 * time)} ms` : `${time.toFixed(time < 10 ? 2 : 1)} s`;
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

// The difference of `part` relative to `whole`, in words as `["less", "more", "much"]`.
export function difference(part, whole, [less, more, much]) {
  if (!whole) return "–";
  const ratio = part / whole;
  if (ratio >= 2) return `${ratio.toFixed(1)} times as ${much}`;
  const change = Math.round(100 * (ratio - 1));
  if (change === 0) return "the same";
  return change < 0 ? `${-change}\u00a0% ${less}` : `${change}\u00a0% ${more}`;
}
