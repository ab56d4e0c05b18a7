// The list of requests, with their steps on demand.

import { element, find } from "./element.js";
import { count, money, percent, seconds } from "./figures.js";
import { request } from "./stream.js";

const ENDS = {
  answer: "answered", stop: "answered", length: "cut", steps: "cut", tokens: "cut", context: "cut",
  failed: "failed", abandoned: "abandoned",
};
const ACTIONS = { continue: "kept", regenerate: "rewritten", take_over: "taken over", restart: "restarted" };

// Keeps the entries that are open while newer ones arrive.
export class RequestList {
  constructor() {
    this.list = element("ol", { class: "requests" });
    this.more = element("button", { type: "button", hidden: true }, "Show older requests");
    this.hint = element("p", { class: "quiet" }, "Loading …");
    this.element = element("section", { class: "panel", "aria-label": "Requests one by one" },
      element("h2", {}, "Requests one by one"), this.hint, this.list, this.more);
    this.more.addEventListener("click", () => this.older().catch((error) => { this.hint.textContent = error.message; }));
    this.entries = new Map();
    this.extended = false;
  }

  clear() {
    this.entries.clear();
    this.list.replaceChildren();
    this.extended = false;
  }

  // Shows the newest requests above those that were shown.
  async refresh(keepsTexts) {
    const { requests, more } = await this.load();
    this.add(requests);
    if (!this.extended) this.more.hidden = !more;
    this.hint.textContent = !this.entries.size ? "No request yet. Ask one on the page Ask, or by the API."
      : keepsTexts ? "The newest first." : "The newest first. Questions are not kept: `trim serve --keep-texts` keeps them.";
  }

  async older() {
    const oldest = Math.min(...[...this.entries.values()].map(({ record }) => record.created));
    const { requests, more } = await this.load(oldest);
    this.extended = true;
    this.add(requests);
    this.more.hidden = !more;
  }

  async load(before) {
    const until = before == null ? "" : `&before=${before}`;
    return (await request(`/page/requests?hours=${find("hours").value}${until}`)).json();
  }

  add(records) {
    for (const record of records) {
      if (!this.entries.has(record.id)) this.entries.set(record.id, { record, item: entry(record) });
    }
    const ordered = [...this.entries.values()].sort((a, b) => b.record.created - a.record.created);
    ordered.forEach(({ item }, place) => {
      if (this.list.children[place] !== item) this.list.insertBefore(item, this.list.children[place] ?? null);
    });
  }
}

function entry(record) {
  const kept = record.strong_tokens + record.middle_tokens + record.weak_tokens;
  const failed = record.finish === "failed";
  const steps = element("div", { class: "recorded" });
  const item = element("details", { class: "request" },
    element("summary", {},
      element("span", { class: "when" }, new Date(1000 * record.created).toLocaleString([], { dateStyle: "short", timeStyle: "medium" })),
      element("span", { class: "asked" }, record.question ?? `${record.policy || "not begun"}`),
      strip(record.steps),
      element("span", { class: failed ? "outcome note" : "outcome" }, ENDS[record.finish] ?? record.finish),
      element("span", { class: "cost" }, `${seconds(record.seconds)} · ${money(record.money)}`)),
    element("p", { class: "hint" }, [
      `router ${record.policy || "not begun"}`, record.key ? `key ${record.key}` : "without a key",
      `${percent(kept ? record.strong_tokens / kept : null)} strong`, `${count(kept, "token")} kept`,
      `${count(record.discarded_tokens, "token")} dropped`, record.failure].filter(Boolean).join(" · ")),
    steps);
  item.addEventListener("toggle", () => {
    if (item.open && !steps.hasChildNodes()) show(record, steps);
  });
  return element("li", {}, item);
}

// A block for each step, in its author's colour.
function strip(steps) {
  const numbers = {};
  for (const { author } of steps) numbers[author] = (numbers[author] ?? 0) + 1;
  const text = Object.entries(numbers).map(([author, number]) => `${number} ${author}`).join(", ");
  return element("span", { class: "strip", role: "img", "aria-label": text ? `steps: ${text}` : "no steps" },
    ...steps.map(({ author }) => element("span", { class: `block ${author}` })));
}

async function show(record, place) {
  place.replaceChildren(element("p", { class: "quiet" }, "Loading the steps …"));
  try {
    const { steps } = await (await request(`/page/requests/${encodeURIComponent(record.id)}/steps`)).json();
    const full = steps.length ? element("ol", { class: "steps" }, ...steps.map(step)) : element("p", { class: "quiet" }, "No steps.");
    place.replaceChildren(full);
  } catch (error) {
    place.replaceChildren(element("p", { class: "note" }, error.message));
  }
}

function step(record) {
  const { author, action, score, tokens, fallback, text, draft, number } = record;
  const figures = [ACTIONS[action] ?? action, score == null ? null : `score ${score.toFixed(2)}`,
    count(tokens, "token"), fallback ? `the ${fallback} did not answer` : null];
  return element("li", { class: `step kept ${author}` },
    element("p", { class: "head" }, element("span", { class: "number" }, String(number + 1)),
      element("span", { class: "author" }, author), element("span", {}, figures.filter(Boolean).join(" · "))),
    draft ? element("del", { class: "text" }, draft) : null,
    text ? element("p", { class: "text" }, text.trimEnd()) : null);
}
