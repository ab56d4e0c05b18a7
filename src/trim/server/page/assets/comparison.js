// What the router and the strong model alone took for the same question.

import { element, table } from "./element.js";
import { difference, money, seconds } from "./figures.js";

const ROWS = [
  ["strong tokens", (end) => end.strong_tokens, String],
  ["tokens decoded", (end) => end.strong_tokens + end.middle_tokens + end.weak_tokens + end.discarded_tokens, String],
  ["seconds", (end) => end.seconds, seconds],
  ["money", (end) => end.money, money],
];

const CACHED = "Strong alone came second: where the router had asked the strong model,"
  + " the question was in its cache already.";

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
