// The operator's view: what the server did, and what it does now.

import { bars, distributions, line } from "./charts.js";
import { element, facts, find, table } from "./element.js";
import { money, percent, seconds } from "./figures.js";
import { remember, remembered } from "./key.js";
import { request } from "./stream.js";

const EVERY = 10_000;
const NEEDS_KEY = [401, 403];
// Ends of requests as bars show them, from below.
const SERIES = { answer: "answered", stop: "ended by the model", cut: "cut", failed: "failed", abandoned: "given up by the client" };
const CUT = ["length", "steps", "tokens", "context"];

async function refresh() {
  try {
    const answer = await request(`/page/traffic?hours=${find("hours").value}`);
    show(await answer.json());
    find("error").textContent = "";
    find("updated").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    find("error").textContent = error.message;
    if (NEEDS_KEY.includes(error.status)) {
      find("view").replaceChildren();
      askForKey();
    }
  }
}

function askForKey() {
  find("key").hidden = find("key-label").hidden = false;
}

function show(seen) {
  const number = Object.values(seen.outcomes).reduce((sum, count) => sum + count, 0);
  const times = seen.times.map(({ time }) => moment(time, seen.hours));
  const target = seen.target_share == null ? "none is set" : percent(seen.target_share, 1);
  find("view").replaceChildren(
    wide("Warnings", seen.warnings.length
      ? element("ul", { class: "warnings" }, ...seen.warnings.map((warning) => element("li", {}, warning)))
      : element("p", { class: "quiet" }, "None.")),
    wide("At a glance", element("dl", { class: "facts" }, ...facts([
      ["requests", number.toLocaleString("en")],
      ["strong share", percent(seen.strong_share, 1)],
      ["its target", target],
      ["money", money(seen.money)],
      ["median", seconds(seen.latency["0.5"])],
      ["95 % within", seconds(seen.latency["0.95"])],
      ["99 % within", seconds(seen.latency["0.99"])],
      ["running now", `${seen.running} of ${seen.limits.running}`],
      ["waiting now", `${seen.waiting} of ${seen.limits.queue}`],
    ])), element("p", { class: "hint" },
      "Seconds of answered requests, waiting included. What is now is of this process.")),
    stack(panel("Requests",
      bars(`${number} requests over time`, Object.keys(SERIES), seen.times.map(({ outcomes }) => grouped(outcomes)), times),
      key(Object.entries(SERIES)),
      outcomes(grouped(seen.outcomes), number)),
    panel("Spending", seen.spending.length
      ? table("By day (UTC) and key", ["day", "key", "money", "strong tokens"], seen.spending.map((spent) => [
        spent.day, spent.key ?? "without a key", of(money(spent.money), spent.money_a_day),
        of(spent.strong_tokens.toLocaleString("en"), spent.strong_tokens_a_day)]))
      : element("p", { class: "quiet" }, "Nothing was spent in 14 days.")),
    panel("Faults", ...faults(seen))),
    stack(panel("Strong share",
      line(`Strong tokens as a share of kept tokens over time, on the whole ${percent(seen.strong_share, 1)}`,
        seen.times.map((slice) => slice.strong_share), seen.target_share, times),
      element("p", { class: "hint" }, `Strong tokens as a share of all kept tokens. Target: ${target}.`),
      seen.routers.length ? table("By router", ["router", "requests", "strong share", "money"],
        seen.routers.map((used) => [used.policy || "not begun", String(used.requests), percent(used.strong_share, 1), money(used.money)])) : null),
    panel("Scores", ...scores(seen.drift))));
}

function panel(title, ...content) {
  return element("section", { class: "panel", "aria-label": title }, element("h2", {}, title), ...content);
}

function wide(title, ...content) {
  const made = panel(title, ...content);
  made.classList.add("wide");
  return made;
}

function stack(...panels) {
  return element("div", { class: "stack" }, ...panels);
}

function key(entries) {
  return element("ul", { class: "key" }, ...entries.map(([name, shown]) =>
    element("li", {}, element("span", { class: `swatch ${name}`, "aria-hidden": "true" }), shown)));
}

function outcomes(counts, number) {
  const rows = Object.entries(SERIES).filter(([name]) => counts[name])
    .map(([name, shown]) => [shown, String(counts[name]), percent(counts[name] / number, 1)]);
  return rows.length ? table("By outcome", ["outcome", "requests", "share"], rows) : null;
}

function grouped(counts) {
  const all = {};
  for (const [name, count] of Object.entries(counts)) {
    const series = CUT.includes(name) ? "cut" : name;
    all[series] = (all[series] ?? 0) + count;
  }
  return all;
}

function scores(drift) {
  const sizes = [drift.recent, drift.earlier].map((counts) => counts.reduce((sum, count) => sum + count, 0));
  const said = drift.distance == null
    ? `Too few to compare: ${sizes[0] + sizes[1]} first drafts, 40 are needed.`
    : `Kolmogorov–Smirnov distance ${drift.distance.toFixed(3)}, p = ${drift.p_value.toPrecision(2)}:`
      + ` ${drift.drifted ? "drifted" : "no drift"}. Warned of from 0.1 with p below 0.001.`;
  return [
    distributions(`Scores of first drafts: the newest ${sizes[0]} against the ${sizes[1]} before`, drift.recent, drift.earlier),
    key([["answer", `the newest ${sizes[0]} first drafts`], ["earlier", `the ${sizes[1]} before`]]),
    element("p", { class: drift.drifted ? "note" : "hint" }, said),
  ];
}

function faults(seen) {
  return [
    seen.faults.length
      ? table("Failed requests by reason", ["reason", "requests"], seen.faults.map(([reason, count]) => [reason, String(count)]))
      : element("p", { class: "quiet" }, "No request failed."),
    element("p", { class: seen.silent.length ? "note" : "hint" }, seen.silent.length
      ? `Do not answer now: ${seen.silent.join(", ")}.` : "No server of a model is silent."),
  ];
}

function of(spent, budget) {
  return budget == null ? spent : `${spent} of ${budget}`;
}

function moment(time, hours) {
  const date = new Date(1000 * time);
  return hours <= 24
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString([], { month: "short", day: "numeric" });
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  remember(find("key").value.trim() || remembered());
  refresh();
});
find("hours").addEventListener("change", refresh);
setInterval(() => document.visibilityState === "visible" && refresh(), EVERY);
refresh();
