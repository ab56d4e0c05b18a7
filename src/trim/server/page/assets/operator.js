// The operator's view: past traffic and present load.

import { bars, distributions, line } from "./charts.js";
import { element, facts, find, table } from "./element.js";
import { count, money, payIn, percent, seconds } from "./figures.js";
import { remember, remembered } from "./key.js";
import { inWords } from "./reasons.js";
import { RequestList } from "./requests.js";
import { request } from "./stream.js";

const EVERY = 10_000;
const NEEDS_KEY = [401, 403];
// Outcomes of requests in the bars, from bottom to top.
const SERIES = { answer: "answered", cut: "cut", failed: "failed", abandoned: "abandoned by the client" };
const CUT = ["length", "steps", "tokens", "context"];

const list = new RequestList();

async function refresh() {
  try {
    const answer = await request(`/page/traffic?hours=${find("hours").value}`);
    const data = await answer.json();
    payIn(data.currency);
    show(data);
    find("error").textContent = "";
    if (!list.element.isConnected) find("requests").replaceChildren(list.element);
    await list.refresh(data.keeps_texts);
    find("updated").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    find("error").textContent = inWords(error).sentence;
    find("updated").textContent = "";
    find("view").querySelector(".loading")?.remove();
    if (NEEDS_KEY.includes(error.status)) {
      for (const part of ["saved", "warnings", "requests", "view"]) find(part).replaceChildren();
      askForKey();
    }
  }
  find("view").setAttribute("aria-busy", "false");
}

// Another range, or another key.
function restart() {
  find("view").setAttribute("aria-busy", "true");
  find("updated").textContent = "loading …";
  list.clear();
  refresh();
}

function askForKey() {
  find("key").hidden = find("key-label").hidden = false;
}

// Money saved against the strong model alone, which is an estimate.
function saving(saved, range) {
  if (!saved) {
    return panel("Saved", element("p", { class: "headline" }, "Nothing to compare yet"),
      element("p", { class: "hint" }, "No routed request in this time, or the strong model has no price."));
  }
  const rest = saved.strong_alone - saved.money;
  const share = percent(Math.abs(rest) / saved.strong_alone);
  return panel("Saved", element("p", { class: "headline" }, rest >= 0
    ? `About ${money(rest)} saved against the strong model alone, ${share}`
    : `About ${money(-rest)} more than the strong model alone, ${share}`),
  element("p", { class: "hint" }, `${count(saved.requests, "routed request")} in ${range} cost ${money(saved.money)}.`
    + ` The same ${count(saved.tokens, "token")} written by the strong model alone would cost ${money(saved.strong_alone)},`
    + " its prompts not counted."));
}

function show(data) {
  const number = Object.values(data.outcomes).reduce((sum, count) => sum + count, 0);
  const ended = grouped(data.outcomes);
  const times = data.times.map(({ time }) => moment(time, data.hours));
  find("saved").replaceChildren(saving(data.saved, find("hours").selectedOptions[0].text));
  find("warnings").replaceChildren(...(data.warnings.length
    ? [panel("Warnings", element("ul", { class: "warnings" }, ...data.warnings.map((warning) => element("li", {}, warning))))]
    : []));
  const target = data.target_share == null ? "none" : percent(data.target_share, 1);
  find("view").replaceChildren(
    wide("At a glance", element("dl", { class: "facts" }, ...facts([
      ["requests", number.toLocaleString("en")],
      ["strong share", percent(data.strong_share, 1)],
      ["its target", target],
      ["money", money(data.money)],
      ["median", seconds(data.latency["0.5"])],
      ["95 % within", seconds(data.latency["0.95"])],
      ["99 % within", seconds(data.latency["0.99"])],
      ["running now", `${data.running} of ${data.limits.running}`],
      ["waiting now", `${data.waiting} of ${data.limits.queue}`],
    ])), element("p", { class: "hint" },
      "Seconds of answered requests, waiting included. Current numbers are of this process.")),
    stack(panel("Requests over time",
      bars(`${number} requests over time`, Object.keys(SERIES), data.times.map(({ outcomes }) => grouped(outcomes)), times),
      key(Object.entries(SERIES).filter(([name]) => ended[name])),
      outcomes(ended, number)),
    panel("Spending", data.spending.length
      ? table("By day (UTC) and key", ["day", "key", "money", "strong tokens"], data.spending.map((spent) => [
        spent.day, spent.key ?? "without a key", of(money(spent.money), spent.money_a_day),
        of(spent.strong_tokens.toLocaleString("en"), spent.strong_tokens_a_day)]))
      : element("p", { class: "quiet" }, "Nothing was spent in 14 days.")),
    panel("Faults", ...faults(data))),
    stack(panel("Strong share",
      line(`Strong tokens as a share of kept tokens over time, overall ${percent(data.strong_share, 1)}`,
        data.times.map((slice) => slice.strong_share), data.target_share, times),
      element("p", { class: "hint" }, `Strong tokens as a share of all kept tokens. Target: ${target}.`),
      data.routers.length ? table("By router", ["router", "requests", "strong share", "money"],
        data.routers.map((used) => [used.policy || "not begun", String(used.requests), percent(used.strong_share, 1), money(used.money)])) : null),
    panel("Scores", ...scores(data.drift))));
}

function panel(title, ...content) {
  return element("section", { class: "panel", "aria-label": title }, element("h2", {}, title), ...content);
}

function wide(title, ...content) {
  const section = panel(title, ...content);
  section.classList.add("wide");
  return section;
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
    const series = CUT.includes(name) ? "cut" : name === "stop" ? "answer" : name;
    all[series] = (all[series] ?? 0) + count;
  }
  return all;
}

function scores(drift) {
  const sizes = [drift.recent, drift.earlier].map((counts) => counts.reduce((sum, count) => sum + count, 0));
  const summary = drift.distance == null
    ? `Too few to compare: ${sizes[0] + sizes[1]} first drafts, 40 are needed.`
    : `Kolmogorov–Smirnov distance ${drift.distance.toFixed(3)}, p = ${drift.p_value.toPrecision(2)}:`
      + ` ${drift.drifted ? "drifted" : "no drift"}. A warning needs a distance of at least 0.1 and p below 0.001.`;
  return [
    distributions(`Scores of first drafts: the newest ${sizes[0]} against the ${sizes[1]} before`, drift.recent, drift.earlier),
    key([["answer", `the newest ${sizes[0]} first drafts`], ["earlier", `the ${sizes[1]} before`]]),
    element("p", { class: drift.drifted ? "note" : "hint" }, summary),
  ];
}

function faults(data) {
  return [
    data.faults.length
      ? table("Failed requests by reason", ["reason", "requests"], data.faults.map(([reason, count]) => [reason, String(count)]))
      : element("p", { class: "quiet" }, "No request failed."),
    element("p", { class: data.silent.length ? "note" : "hint" }, data.silent.length
      ? `Not answering: ${data.silent.join(", ")}.` : "All model servers answer."),
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
  const typed = find("key").value.trim();
  if (!typed || typed === remembered()) return refresh();
  remember(typed);
  restart();
});
find("hours").addEventListener("change", restart);
setInterval(() => document.visibilityState === "visible" && refresh(), EVERY);
refresh();
