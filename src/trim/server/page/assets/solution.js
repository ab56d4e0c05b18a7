// One solution: its steps as they are drafted, scored, decided and kept.

import { AnswerView } from "./answer.js";
import { belief, origin } from "./belief.js";
import { element, facts, svg } from "./element.js";
import { count, money, percent, seconds } from "./figures.js";
import { legend } from "./legend.js";

const DECISIONS = {
  continue: "kept",
  regenerate: "rewritten",
  take_over: "taken over",
  restart: "restarted",
};
// Ends of a solution that a reader should know of.
const ENDS = {
  length: "The answer is cut: a step reached the limit on its length.",
  steps: "The answer is cut: it reached the limit on its steps.",
  tokens: "The answer is cut: the budget left no more tokens.",
  context: "The answer is cut: the models can read no more.",
};

export class SolutionView {
  constructor(title, { announce, stop }) {
    this.announce = announce;
    this.answer = new AnswerView(announce);
    this.state = element("p", { class: "hint state" }, "The first step is on its way …");
    this.stop = element("button", { type: "button" }, "Stop");
    this.stop.addEventListener("click", stop);
    this.end = element("div", { class: "end" });
    this.heading = element("summary", {}, "Steps");
    this.subtitle = element("p", { class: "hint how" });
    this.origin = element("p", { class: "hint origin" });
    this.list = element("ol", { class: "steps" });
    this.steps = element("details", { class: "course", open: true, hidden: true },
      this.heading, this.subtitle, this.origin, this.list);
    this.element = element("section", { class: "solution", "aria-label": title, "aria-busy": "true" },
      element("div", { class: "top" }, element("h2", {}, title), this.answer.button, this.stop),
      this.state, this.answer.element, this.end, this.steps);
    this.kept = [];
    this.step = null;
    this.finished = null;
  }

  show(event) {
    switch (event.event) {
      case "begun": return this.begin(event);
      case "written": return this.write(event);
      case "span": return this.writeSpan(event);
      case "scored": return this.step.score(event.score);
      case "decided": return this.decide(event);
      case "kept": return this.keep(event);
      case "finished": return this.finish(event);
    }
  }

  // `whole`: the model that answers in one piece where a question is not routed.
  begin({ policy, seed, reason, whole }) {
    const router = whole ? `whole by the ${whole} model` : `router ${policy}`;
    this.subtitle.textContent = [router, `seed ${seed}`, reason].filter(Boolean).join(" · ");
    if (whole) this.advise(`Not routed: the ${whole} model writes the whole answer${reason ? ` (${reason})` : ""}.`);
  }

  write(event) {
    this.stepOf(event).write(event);
  }

  writeSpan(event) {
    this.stepOf(event).writeSpan(event);
  }

  stepOf({ index }) {
    if (this.step?.index !== index || this.step.kept) {
      this.step = new StepView(index);
      this.list.append(this.step.element);
      this.steps.hidden = false;
      this.state.textContent = `Step ${index} …`;
    }
    return this.step;
  }

  decide(event) {
    this.step.decide(event);
    this.origin.textContent = origin(event.belief_of);
    if (event.action === "restart") {
      for (const step of this.list.querySelectorAll(".step")) step.classList.add("abandoned");
      this.step = null;
      this.kept = [];
    }
  }

  keep(event) {
    if (this.step?.index !== event.index || this.step.kept) this.write({ ...event });
    this.step.keep(event);
    this.kept.push(event);
    this.answer.grow(this.text);
    this.state.textContent = `Step ${event.index + 1} …`;
    this.announce(`Step ${event.index}, ${authors(event)}: ${event.text.trim()}`);
  }

  get text() {
    return this.kept.map((step) => step.text).join("");
  }

  finish(event) {
    this.finished = event;
    this.close(ENDS[event.finish] ?? "");
    this.answer.finish(event.text, event.answer);
    this.end.replaceChildren(element("dl", { class: "facts" }, ...facts([
      ["time", seconds(event.seconds)],
      ["money", money(event.money)],
      ["strong share", percent(event.strong_tokens / Math.max(1, event.completion_tokens))],
      ["strong tokens", String(event.strong_tokens)],
      ["weak tokens", String(event.weak_tokens)],
      ["dropped tokens", String(event.discarded_tokens)],
      ["interventions", String(event.interventions)],
      ["strong calls", String(event.strong_calls)],
    ])));
    this.announce(event.answer == null ? "The answer is complete." : `Answer ${event.answer}`);
  }

  advise(sentence) {
    if (sentence) this.state.after(element("p", { class: "hint" }, sentence));
  }

  // `note`: why the answer ends here.
  close(note) {
    this.element.setAttribute("aria-busy", "false");
    this.state.textContent = note;
    this.state.hidden = !note;
    this.stop.remove();
    this.answer.grow(this.text);
    this.heading.textContent = `${count(this.kept.length, "step")}${by(this.kept)}`;
    this.steps.append(legend(this.list));
  }
}

// The number of steps by each author: `: 3 weak, 2 strong`.
function by(kept) {
  const counts = new Map();
  for (const step of kept) counts.set(authors(step), (counts.get(authors(step)) ?? 0) + 1);
  return counts.size ? `: ${[...counts].map(([author, number]) => `${number} ${author}`).join(", ")}` : "";
}

class StepView {
  constructor(index) {
    this.index = index;
    this.kept = false;
    this.author = element("span", { class: "author" });
    this.versions = element("div", { class: "versions" });
    this.element = element("li", { class: "step" },
      element("p", { class: "head" }, element("span", { class: "number" }, String(index)), this.author),
      this.versions);
  }

  write({ author, text, tokens }) {
    if (this.version?.spans && !this.decided) this.remove(); // The text begins with these spans.
    this.dropNewest();
    this.show({ author, text, tokens });
  }

  // A part of a version, after those that were written before it.
  writeSpan(span) {
    if (!this.version?.spans || this.decided) {
      this.dropNewest();
      this.show({ spans: [] });
    }
    this.version.spans.push(span);
    this.showSpans();
  }

  show(version) {
    this.version = version;
    this.decided = false;
    this.text = element("p", { class: "text" }, version.text?.trimEnd());
    this.verdict = element("div", { class: "verdict" });
    this.versions.append(this.text, this.verdict);
    this.name();
  }

  showSpans() {
    const { spans } = this.version;
    this.text.replaceChildren(...spans.flatMap(({ author, text, dropped }, place) => [
      element("span", { class: author }, place === spans.length - 1 ? text.trimEnd() : text),
      dropped ? element("del", {}, dropped) : null,
    ]).filter(Boolean));
    this.name();
  }

  // Names the authors of the newest version.
  name() {
    const of = authors(this.version);
    this.element.className = `step ${of.includes(" ") ? "mixed" : of}`;
    this.author.textContent = of;
  }

  remove() {
    this.text.remove();
    this.verdict.remove();
    this.version = null;
  }

  dropNewest() {
    if (!this.version) return;
    const author = authors(this.version);
    const { text, tokens } = whole(this.version);
    this.text.replaceWith(element("details", { class: "dropped" },
      element("summary", {}, `${author} draft, dropped (${count(tokens, "token")})`, element("del", {}, text)),
      element("del", { class: "text" }, text)));
    this.version = null;
  }

  score(score) {
    this.verdict.append(element("p", { class: "score" },
      svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { class: "track", width: 100, height: 6 }),
        svg("rect", { class: "level", width: 100 * score, height: 6 })),
      `score ${score.toFixed(2)}`));
  }

  decide({ action, reason, belief: states, left }) {
    const budget = [];
    if (left.strong_tokens != null) budget.push(`${count(left.strong_tokens, "strong token")} left`);
    if (left.money != null) budget.push(`money left ${money(left.money)}`);
    if (states) this.verdict.append(belief(states));
    const rewrites = this.version?.spans?.filter(({ author }) => author !== "weak").length;
    const decision = action === "continue" && rewrites ? `${count(rewrites, "span")} rewritten` : DECISIONS[action];
    this.decided = action !== "continue";
    this.verdict.append(element("p", { class: `decision ${action}` },
      element("strong", {}, decision), `: ${[reason, ...budget].join("; ")}`));
    if (action !== "continue") this.element.classList.add("rewriting");
    if (action === "restart") this.dropNewest();
  }

  keep({ note, spans }) {
    this.kept = true;
    if (spans && !this.version.spans) {
      this.version.spans = spans;
      this.showSpans();
    }
    this.element.classList.remove("rewriting");
    this.element.classList.add("kept");
    if (note) this.verdict.append(element("p", { class: "note" }, note));
  }
}

// The authors of a step or a version: `weak`, `weak and strong`.
function authors({ author, spans }) {
  return spans?.length ? [...new Set(spans.map((span) => span.author))].join(" and ") : author ?? "";
}

// A version's text and tokens.
function whole({ text, tokens, spans }) {
  if (!spans) return { text, tokens };
  return {
    text: spans.map((span) => span.text).join(""),
    tokens: spans.reduce((sum, span) => sum + span.tokens, 0),
  };
}
