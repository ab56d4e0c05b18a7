// The budget: an entry of the measured curve.

import { element, facts, find, svg } from "./element.js";
import { money, percent } from "./figures.js";

const ALONE = ["weak", "strong"];
const WIDTH = 420, HEIGHT = 210, LEFT = 44, BOTTOM = 40, EDGE = 10;

// `isUsual`: whether the server's usual router is on the curve.
export class Budget {
  constructor(catalog) {
    this.entries = front(catalog.curve);
    this.all = catalog.curve;
    const input = find("budget");
    input.max = String(Math.max(0, this.entries.length - 1));
    const usual = this.entries.findIndex((entry) => entry.name === catalog.usual.replace(":", "-"));
    this.isUsual = usual >= 0;
    input.value = String(usual >= 0 ? usual : Math.floor(this.entries.length / 2));
    input.addEventListener("input", () => this.draw());
    find("measured").textContent = catalog.measured
      ? `Measured on ${catalog.measured}. Other questions may cost more or less.`
      : "Measured by an evaluation of this server's models.";
    this.labelEnds();
    this.draw();
  }

  labelEnds() {
    const [first, last] = [this.entries[0], this.entries.at(-1)];
    find("cheapest").textContent = `cheapest: ${percent(first.accuracy, 1)} right`;
    find("best").textContent = `most accurate: ${percent(last.accuracy, 1)} right`;
  }

  get entry() {
    return this.entries[Number(find("budget").value)];
  }

  draw() {
    const entry = this.entry;
    if (!entry) return;
    const strong = this.all.find((one) => one.name === "strong");
    find("budget").setAttribute("aria-valuetext",
      `${percent(entry.strong_share)} strong tokens, ${percent(entry.accuracy, 1)} right, router ${entry.name}`);
    find("chosen").replaceChildren(...facts([
      ["router", entry.name],
      ["right", percent(entry.accuracy, 1)],
      ["strong tokens", percent(entry.strong_share, 1)],
      ["for 1,000 questions", money(1000 * entry.money)],
      ["of the strong model's money", strong?.money ? percent(entry.money / strong.money) : "–"],
    ]));
    find("curve").replaceChildren(curve(this.entries, entry, strong));
  }
}

// The Pareto front: entries that no other beats with fewer strong tokens.
function front(entries) {
  const rising = [...entries].sort((a, b) => a.strong_share - b.strong_share || b.accuracy - a.accuracy);
  let best = -1;
  return rising.filter((entry) => entry.accuracy > best && (best = entry.accuracy, true));
}

function curve(entries, chosen, strong) {
  const lowest = Math.floor(10 * Math.min(...entries.map((entry) => entry.accuracy))) / 10;
  const x = (share) => LEFT + share * (WIDTH - LEFT - EDGE);
  const y = (right) => HEIGHT - BOTTOM - ((right - lowest) / (1 - lowest)) * (HEIGHT - BOTTOM - EDGE);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const levels = [lowest, (1 + lowest) / 2, 1];
  const line = (style, part) => svg("polyline", {
    class: style, points: part.map((entry) => `${x(entry.strong_share)},${y(entry.accuracy)}`).join(" "),
  });
  const at = { x: x(chosen.strong_share), y: y(chosen.accuracy) };
  return svg("svg", {
    class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img",
    "aria-label": `Share of right answers by strong tokens. Here: ${percent(chosen.accuracy, 1)} right with`
      + ` ${percent(chosen.strong_share, 1)} of the strong tokens.`,
  },
    ...levels.flatMap((level) => [
      svg("line", { class: "grid", x1: LEFT, x2: WIDTH - EDGE, y1: y(level), y2: y(level) }),
      svg("text", { x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, percent(level)),
    ]),
    ...ticks.map((tick) =>
      svg("text", { x: x(tick), y: HEIGHT - BOTTOM + 17, "text-anchor": tick === 1 ? "end" : "middle" }, percent(tick))),
    svg("text", { x: WIDTH - EDGE, y: HEIGHT - 3, "text-anchor": "end" }, "strong tokens, of the strong model alone"),
    svg("text", { x: LEFT + 6, y: EDGE + 14 }, "right"),
    svg("line", { class: "place", x1: at.x, x2: at.x, y1: at.y, y2: HEIGHT - BOTTOM }),
    svg("line", { class: "place", x1: LEFT, x2: at.x, y1: at.y, y2: at.y }),
    line("line", entries.filter((entry) => !ALONE.includes(entry.name))),
    // No setting was measured between the models alone and the settings next to them.
    line("line unmeasured", entries.slice(0, ALONE.includes(entries[0]?.name) ? 2 : 0)),
    line("line unmeasured", strong ? [entries.findLast((entry) => !ALONE.includes(entry.name)) ?? entries[0], strong] : []),
    ...entries.map((entry) => svg("circle", { class: "point", cx: x(entry.strong_share), cy: y(entry.accuracy), r: 2.5 })),
    ...(strong ? [
      svg("circle", { class: "point", cx: x(strong.strong_share), cy: y(strong.accuracy), r: 2.5 }),
      svg("text", { x: WIDTH - EDGE, y: y(strong.accuracy) + 18, "text-anchor": "end" }, "strong alone"),
    ] : []),
    svg("circle", { class: "chosen", cx: at.x, cy: at.y, r: 6 }));
}
