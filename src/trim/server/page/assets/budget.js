// The budget: a place on the measured curve.

import { element, facts, find, svg } from "./element.js";
import { money, percent } from "./figures.js";

const WIDTH = 420, HEIGHT = 210, LEFT = 44, BOTTOM = 40, EDGE = 10;

// `isUsual`: whether the server's usual router is one of its places.
export class Budget {
  constructor(menu) {
    this.offers = front(menu.curve);
    this.all = menu.curve;
    const input = find("budget");
    input.max = String(Math.max(0, this.offers.length - 1));
    const usual = this.offers.findIndex((offer) => offer.name === menu.usual.replace(":", "-"));
    this.isUsual = usual >= 0;
    input.value = String(usual >= 0 ? usual : Math.floor(this.offers.length / 2));
    input.addEventListener("input", () => this.draw());
    find("measured").textContent = menu.measured
      ? `Measured on ${menu.measured}. Other questions may cost more or less.`
      : "Measured by an evaluation of this server's models.";
    this.draw();
  }

  get offer() {
    return this.offers[Number(find("budget").value)];
  }

  draw() {
    const offer = this.offer;
    if (!offer) return;
    const strong = this.all.find((one) => one.name === "strong");
    find("budget").setAttribute("aria-valuetext",
      `${percent(offer.strong_share)} strong tokens, ${percent(offer.accuracy, 1)} right, router ${offer.name}`);
    find("chosen").replaceChildren(...facts([
      ["router", offer.name],
      ["right", percent(offer.accuracy, 1)],
      ["strong tokens", percent(offer.strong_share, 1)],
      ["money a question", money(offer.money)],
      ["of strong's money", strong?.money ? percent(offer.money / strong.money) : "–"],
    ]));
    find("curve").replaceChildren(curve(this.offers, offer, strong));
  }
}

// Offers of which no other is as right for fewer strong tokens.
function front(offers) {
  const rising = [...offers].sort((a, b) => a.strong_share - b.strong_share || b.accuracy - a.accuracy);
  let best = -1;
  return rising.filter((offer) => offer.accuracy > best && (best = offer.accuracy, true));
}

function curve(offers, chosen, strong) {
  const lowest = Math.floor(10 * Math.min(...offers.map((offer) => offer.accuracy))) / 10;
  const x = (share) => LEFT + share * (WIDTH - LEFT - EDGE);
  const y = (right) => HEIGHT - BOTTOM - ((right - lowest) / (1 - lowest)) * (HEIGHT - BOTTOM - EDGE);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  const levels = [lowest, (1 + lowest) / 2, 1];
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
    svg("text", { x: WIDTH - EDGE, y: HEIGHT - 3, "text-anchor": "end" }, "strong tokens, of strong alone's"),
    svg("text", { x: LEFT + 6, y: EDGE + 14 }, "right"),
    svg("line", { class: "place", x1: at.x, x2: at.x, y1: at.y, y2: HEIGHT - BOTTOM }),
    svg("line", { class: "place", x1: LEFT, x2: at.x, y1: at.y, y2: at.y }),
    svg("polyline", {
      class: "line", points: offers.map((offer) => `${x(offer.strong_share)},${y(offer.accuracy)}`).join(" "),
    }),
    ...offers.map((offer) => svg("circle", { class: "point", cx: x(offer.strong_share), cy: y(offer.accuracy), r: 2.5 })),
    ...(strong ? [
      svg("circle", { class: "point", cx: x(strong.strong_share), cy: y(strong.accuracy), r: 2.5 }),
      svg("text", { x: WIDTH - EDGE, y: y(strong.accuracy) + 18, "text-anchor": "end" }, "strong alone"),
    ] : []),
    svg("circle", { class: "chosen", cx: at.x, cy: at.y, r: 6 }));
}
