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
      case "scored": return this.step.score(event.score);
      case "decided": return this.decide(event);
      case "kept": return this.keep(event);
      case "finished": return this.finish(event);
    }
  }

  begin({ policy, seed, reason }) {
    this.subtitle.textContent = [`router ${policy}`, `seed ${seed}`, reason].filter(Boolean).join(" · ");
  }

  write(event) {
    if (this.step?.index !== event.index || this.step.kept) {
      this.step = new StepView(event.index);
      this.list.append(this.step.element);
    }
    this.step.write(event);
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
    this.announce(`Step ${event.index}, ${event.author}: ${event.text.trim()}`);
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
    this.dropNewest();
    this.element.className = `step ${author}`;
    this.author.textContent = author;
    this.version = { author, text, tokens };
    this.text = element("p", { class: "text" }, text.trimEnd());
    this.verdict = element("div", { class: "verdict" });
    this.versions.append(this.text, this.verdict);
  }

  dropNewest() {
    if (!this.version) return;
    const { author, text, tokens } = this.version;
    this.text.replaceWith(element("details", { class: `dropped ${author}` },
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
    this.verdict.append(element("p", { class: `decision ${action}` },
      element("strong", {}, DECISIONS[action]), `: ${[reason, ...budget].join("; ")}`));
    if (action !== "continue") this.element.classList.add("rewriting");
    if (action === "restart") this.dropNewest();
  }

  keep({ note }) {
    this.kept = true;
    this.element.classList.remove("rewriting");
    this.element.classList.add("kept");
    if (note) this.verdict.append(element("p", { class: "note" }, note));
  }
}
