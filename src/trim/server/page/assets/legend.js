// The meaning of what a solution's steps show, and of nothing else.

import { element } from "./element.js";

const ENTRIES = [
  [".step.weak", "weak", "of-weak", "the cheap model wrote the step"],
  [".step.strong, .step.mixed .strong", "strong", "of-strong", "the expensive model wrote it"],
  [".step.intermediate, .step.middle, .step.mixed .intermediate", "intermediate", "of-middle", "a model between the two wrote it"],
  [".step.mixed", "weak and strong", "", "the weak model wrote the step, a stronger one the underlined spans"],
  [".step del", "struck through", "", "a draft that was replaced"],
  [".score", "score", "", "the scorer's probability that the draft is right"],
  [".belief", "right", "of-right", "belief: every step is right"],
  [".belief", "repairable", "of-repairable", "belief: only this draft is wrong; a rewrite helps"],
  [".belief", "lost", "of-lost", "belief: an earlier step is wrong; a rewrite does not help"],
];

export function legend(steps) {
  const shown = ENTRIES.filter(([selector]) => steps.querySelector(selector));
  return element("details", { class: "explained" },
    element("summary", {}, "What the colours and words mean"),
    element("dl", { class: "legend" }, ...shown.map(([, term, style, meaning]) =>
      element("div", {}, element("dt", { class: style }, term), element("dd", {}, meaning)))));
}
