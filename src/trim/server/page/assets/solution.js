// One solution: its steps as they are drafted, scored, decided and kept.

import { belief, origin } from "./belief.js";
import { element, facts, svg } from "./element.js";
import { count, money, percent, seconds } from "./figures.js";

const DECISIONS = {
  continue: "kept",
  regenerate: "rewritten",
  take_over: "taken over",
  restart: "restarted",
};
const ENDS = {
  answer: "answered",
  stop: "ended without a boxed answer",
  length: "cut: a step reached its limit",
  steps: "cut: too many steps",
  tokens: "cut: no tokens left",
  context: "cut: the context is full",
};

export class SolutionView {
  constructor(title, announce) {
    this.announce = announce;
    this.list = element("ol", { class: "steps" });
    this.subtitle = element("p", { class: "hint" }, "waiting …");
    this.origin = element("p", { class: "hint origin" });
    this.end = element("div", { class: "end" });
    this.element = element("section", { class: "solution", "aria-label": title, "aria-busy": "true" },
      element("h2", {}, title), this.subtitle, this.origin, this.list, this.end);
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

  begin({ policy, seed, reason, whole }) {
    const router = whole ? `written whole by the ${whole} model` : `router ${policy}`;
    this.subtitle.textContent = [router, `seed ${seed}`, reason].filter(Boolean).join(" · ");
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
    }
    return this.step;
  }

  decide(event) {
    this.step.decide(event);
    this.origin.textContent = origin(event.belief_of);
    if (event.action === "restart") {
      for (const step of this.list.querySelectorAll(".step")) step.classList.add("abandoned");
      this.step = null;
    }
  }

  keep(event) {
    if (this.step?.index !== event.index || this.step.kept) this.write({ ...event });
    this.step.keep(event);
    this.announce(`Step ${event.index}, ${authors(event)}: ${event.text.trim()}`);
  }

  finish(event) {
    this.finished = event;
    this.close();
    this.end.replaceChildren(
      element("p", { class: "answer" },
        event.answer == null ? `No answer: ${ENDS[event.finish] ?? event.finish}.` : "Answer ",
        event.answer == null ? null : element("strong", {}, event.answer)),
      element("dl", { class: "facts" }, ...facts([
        ["strong tokens", String(event.strong_tokens)],
        ["weak tokens", String(event.weak_tokens)],
        ["dropped tokens", String(event.discarded_tokens)],
        ["strong share", percent(event.strong_tokens / Math.max(1, event.completion_tokens))],
        ["interventions", String(event.interventions)],
        ["strong calls", String(event.strong_calls)],
        ["time", seconds(event.seconds)],
        ["money", money(event.money)],
      ])));
    this.announce(event.answer == null ? "Ended without an answer." : `Answer ${event.answer}`);
  }

  close(note) {
    this.element.setAttribute("aria-busy", "false");
    if (note) this.end.replaceChildren(element("p", { class: "hint" }, note));
  }
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
