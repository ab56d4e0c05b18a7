// The costs of the router and of the strong model alone for the same question.

import { element, table } from "./element.js";
import { difference, money, seconds } from "./figures.js";

const TOKENS = ["fewer", "more", "many"];
const ROWS = [
  ["strong tokens", (end) => end.strong_tokens, String, TOKENS],
  ["tokens decoded", (end) => end.strong_tokens + end.middle_tokens + end.weak_tokens + end.discarded_tokens, String, TOKENS],
  ["time", (end) => end.seconds, seconds, ["shorter", "longer", "long"]],
  ["money", (end) => end.money, money, ["less", "more", "much"]],
];

const CACHED = "The strong model alone ran second: what the router had sent to it was already in its cache.";

export function comparison(routed, strong) {
  const rows = ROWS.map(([name, value, shown, words]) =>
    [name, shown(value(routed)), shown(value(strong)), difference(value(routed), value(strong), words)]);
  const same = routed.answer === strong.answer ? "the same" : "another";
  return element("div", {},
    table("The router and the strong model alone, on the same question with the same seed",
      ["", routed.policy, "strong alone", "difference"],
      [["answer", routed.answer ?? "as text", strong.answer ?? "as text", same], ...rows]),
    element("p", { class: "hint" }, CACHED));
}
