// The question view: a question, its budget, and the solutions.

import { Budget } from "./budget.js";
import { comparison } from "./comparison.js";
import { element, find } from "./element.js";
import { remember, remembered } from "./key.js";
import { SolutionView } from "./solution.js";
import { ServerError, request, solution } from "./stream.js";

const EXAMPLE = "Start with 24. 1) multiply by 2. 2) add 2. 3) divide by 5. 4) decrease it by 7."
  + " 5) last, add 19. What is the result?";
const STRONG = "trim:strong";
const SEEDS = 2 ** 31;

let budget = null;
let asking = null;

async function begin() {
  find("key").value = remembered();
  const catalog = await (await request("/page/menu")).json();
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
    const first = await watch("Router", body(question, seed, false), signal);
    if (find("compare").checked) {
      // Sequentially, to keep the times comparable.
      const second = await watch("Strong alone", body(question, seed, true), signal);
      find("comparison").replaceChildren(comparison(first, second));
      find("comparison").hidden = false;
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
  const view = new SolutionView(title, announce);
  find("solutions").append(view.element);
  try {
    for await (const event of solution(request, signal)) view.show(event);
    return view.finished;
  } catch (error) {
    if (view.step) view.close(error.name === "AbortError" ? "Stopped." : "Not complete.");
    else view.element.remove();
    throw error;
  }
}

function explain(error) {
  if (error.name === "AbortError") {
    announce("Stopped.");
    return;
  }
  showError(error instanceof ServerError ? error.message : `Error in the page: ${error.message}`);
  if (error.status === 401) {
    find("more").open = true;
    find("key").focus();
  }
}

function showError(message) {
  find("error").textContent = message;
}

function announce(message) {
  find("status").textContent = message;
}

function busy(whether) {
  find("ask").disabled = whether;
  find("stop").disabled = !whether;
  if (!whether && document.activeElement === document.body) find("question").focus();
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
  find("question").value = EXAMPLE;
  find("question").focus();
});
find("router").addEventListener("change", chooseRouter);
find("key").addEventListener("change", () => remember(find("key").value.trim()));

find("legend").open = matchMedia("(min-width: 60rem)").matches;
const ready = begin().catch(explain);
