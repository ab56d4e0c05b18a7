// The question view: a question, its budget, and the solutions.

import { Budget } from "./budget.js";
import { comparison } from "./comparison.js";
import { element, find } from "./element.js";
import { payIn } from "./figures.js";
import { remember, remembered } from "./key.js";
import { inWords } from "./reasons.js";
import { SolutionView } from "./solution.js";
import { ServerError, request, solution } from "./stream.js";

const PUZZLE = "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7."
  + " 5) last, add 19. What is the result?";
const PROBLEM = "How many positive divisors does 196 have?";
const STRONG = "trim:strong";
const SEEDS = 2 ** 31;
const IN_SIGHT = 0.5; // Of the window's height, above which an answer has to begin.

let budget = null;
let asking = null;
let example = PUZZLE;
let advice = "";

async function begin() {
  find("key").value = remembered();
  const catalog = await (await request("/page/menu")).json();
  payIn(catalog.currency);
  introduce(catalog.models);
  const measured = catalog.curve.length > 0;
  const names = catalog.names.map((name) =>
    element("option", { value: name }, name === "trim" ? `trim (${catalog.usual})` : name));
  find("router").replaceChildren(
    ...(measured ? [element("option", { value: "" }, "by budget")] : []), ...names);
  if (measured) budget = new Budget(catalog);
  if (!budget?.isUsual) find("router").value = "trim";
  chooseRouter();
  find("more").open = catalog.keys && !remembered();
}

// What these models can do, and a question to try.
function introduce({ weak, strong, shipped }) {
  example = shipped ? PUZZLE : PROBLEM;
  find("models").textContent = shipped
    ? "The shipped models do arithmetic puzzles and nothing else."
    : `Here ${weak} drafts and ${strong} rewrites.`;
  advice = shipped ? "No sense in it? The shipped models do arithmetic puzzles only: try the example." : "";
  find("question").placeholder = `For example: ${example}`;
}

function chooseRouter() {
  find("budget-part").hidden = find("router").value !== "";
}

// The body of a request to a router, for the question in the field.
function body(question, seed, strong) {
  const common = { messages: [{ role: "user", content: question }], seed };
  if (strong) return { ...common, model: STRONG };
  const name = find("router").value;
  if (name || !budget) return { ...common, model: name || "trim" };
  return { ...common, model: "trim", trim: { strong_share: budget.entry.strong_share } };
}

async function ask() {
  if (asking) return;
  const question = find("question").value;
  if (!question.trim()) {
    showError("Type a question first.");
    find("question").focus();
    return;
  }
  asking = new AbortController();
  const { signal } = asking;
  busy(true);
  showError("");
  await ready;
  find("comparison").hidden = true;
  find("solutions").replaceChildren();
  const seed = find("seed").value === "" ? Math.floor(Math.random() * SEEDS) : Number(find("seed").value);
  try {
    const first = await watch("trim", body(question, seed, false), signal);
    if (find("compare").checked) {
      // Sequentially, to keep the times comparable.
      const second = await watch("Strong model alone", body(question, seed, true), signal);
      find("comparison").replaceChildren(comparison(first, second));
      find("comparison").hidden = false;
      bringIntoSight(find("comparison"));
    }
  } catch (error) {
    explain(error);
  } finally {
    asking = null;
    busy(false);
  }
}

// Shows a solution while it grows; returns its last event.
async function watch(title, request, signal) {
  const view = new SolutionView(title, { announce, stop: () => asking?.abort() });
  find("solutions").append(view.element);
  if (find("solutions").children.length === 1) bringIntoSight(view.element);
  try {
    for await (const event of solution(request, signal)) view.show(event);
    if (view.finished.answer == null) view.advise(advice);
    return view.finished;
  } catch (error) {
    if (view.step) view.close(error.name === "AbortError" ? "Stopped." : "Not complete.");
    else view.element.remove();
    throw error;
  }
}

function bringIntoSight(node) {
  const { top } = node.getBoundingClientRect();
  if (top < 0 || top > IN_SIGHT * innerHeight) node.scrollIntoView({ block: "start" });
}

function explain(error) {
  if (error.name === "AbortError") {
    announce("Stopped.");
    return;
  }
  if (!(error instanceof ServerError)) {
    showError(`Error in the page: ${error.message}`);
    return;
  }
  const { sentence, report } = inWords(error);
  showError(sentence, report);
  if (error.status === 401) {
    find("more").open = true;
    find("key").focus();
  }
}

function showError(sentence, report = "") {
  find("error").textContent = sentence;
  find("report").textContent = report;
  find("reported").hidden = !report;
  if (sentence) bringIntoSight(find("error"));
}

function announce(message) {
  find("status").textContent = message;
}

function busy(whether) {
  find("ask").disabled = whether;
  find("stop").disabled = !whether;
  // On a phone the focus would cover the answer with a keyboard.
  const typing = matchMedia("(pointer: fine)").matches;
  if (!whether && typing && document.activeElement === document.body) {
    find("question").focus({ preventScroll: true });
  }
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    ask();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") asking?.abort();
});
find("stop").addEventListener("click", () => asking?.abort());
find("example").addEventListener("click", () => {
  find("question").value = example;
  find("question").focus();
});
find("router").addEventListener("change", chooseRouter);
find("key").addEventListener("change", () => remember(find("key").value.trim()));

const ready = begin().catch(explain);
