// The belief over the state of a solution, as a bar and as text.

import { element, svg } from "./element.js";
import { percent } from "./figures.js";

const STATES = ["right", "repairable", "lost"];

export function belief(states) {
  let left = 0;
  const parts = STATES.map((state) => {
    const part = svg("rect", { class: state, x: 100 * left, width: 100 * states[state], height: 6 });
    left += states[state];
    return part;
  });
  return element("p", { class: "belief" },
    svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts),
    ...STATES.map((state) =>
      element("span", { class: `state ${state}` }, `${state} ${percent(states[state])}`)));
}

// The source of the belief; nothing without one.
export function origin(of) {
  if (of === "policy") return "The belief is the router's own.";
  if (of === "model") return "The belief is a fitted model's; this router does not use it.";
  return "";
}
