// The costs of the router and of the strong model alone for the same question.

import { element, table } from "./element.js";
import { difference, money, seconds } from "./figures.js";

const ROWS = [
  ["strong tokens", (end) => end.strong_tokens, String],
  ["tokens decoded", (end) => end.strong_tokens + end.middle_tokens + end.weak_tokens + end.discarded_tokens, String],
  ["seconds", (end) => end.seconds, seconds],
  ["money", (end) => end.money, money],
];

const CACHED = "Strong alone ran second: what the router had sent to the strong model was already in its cache.";

export function comparison(routed, strong) {
  const rows = ROWS.map(([name, value, shown]) =>
    [name, shown(value(routed)), shown(value(strong)), difference(value(routed), value(strong))]);
  const same = routed.answer === strong.answer ? "the same" : "another";
  return element("div", {},
    table("The router and the strong model alone, on the same question with the same seed",
      ["", routed.policy, "strong alone", "difference"],
      [["answer", routed.answer ?? "none", strong.answer ?? "none", same], ...rows]),
    element("p", { class: "hint" }, CACHED));
}
