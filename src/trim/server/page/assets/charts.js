// Bar and line charts over time, and a comparison of two distributions.

import { svg } from "./element.js";
import { percent } from "./figures.js";

const WIDTH = 480, HEIGHT = 150, LEFT = 44, RIGHT = 6, TOP = 8, BOTTOM = 22;
const BASE = HEIGHT - BOTTOM;

// Stacked bars; `series` lists names, `slices` counts by name, `times` labels.
export function bars(label, series, slices, times) {
  const totals = slices.map((slice) => series.reduce((sum, name) => sum + (slice[name] ?? 0), 0));
  const highest = nice(Math.max(1, ...totals));
  const width = (WIDTH - LEFT - RIGHT) / slices.length;
  const y = (count) => BASE - (count / highest) * (BASE - TOP);
  const parts = slices.flatMap((slice, place) => {
    let below = 0;
    return series.filter((name) => slice[name]).map((name) => {
      const from = below;
      below += slice[name];
      return svg("rect", {
        class: `bar ${name}`, x: LEFT + place * width + 0.5, width: Math.max(1, width - 1),
        y: y(below), height: y(from) - y(below),
      });
    });
  });
  return chart(label, ...scale([0, highest], y, String), ...parts, ...hours(times));
}

// A line with gaps where a value is null, and a dashed one for a target in the same units.
export function line(label, values, target, times) {
  const highest = Math.max(0.1, ...values.filter((value) => value != null), target ?? 0);
  const top = Math.min(1, Math.ceil(10 * highest) / 10);
  const width = (WIDTH - LEFT - RIGHT) / values.length;
  const x = (place) => LEFT + (place + 0.5) * width;
  const y = (value) => BASE - (value / top) * (BASE - TOP);
  const points = values.flatMap((value, place) => value == null ? [] : [[x(place), y(value)]]);
  return chart(label, ...scale([0, top], y, (value) => percent(value)),
    target == null ? null : svg("line", { class: "target", x1: LEFT, x2: WIDTH - RIGHT, y1: y(target), y2: y(target) }),
    svg("polyline", { class: "line", points: points.map((point) => point.join(",")).join(" ") }),
    ...points.map(([cx, cy]) => svg("circle", { class: "point", cx, cy, r: 2.5 })),
    ...hours(times));
}

// Histograms of two samples in [0, 1]: bars for one, steps for the other.
export function distributions(label, recent, earlier) {
  const shares = [recent, earlier].map((counts) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    return counts.map((count) => total ? count / total : 0);
  });
  const highest = Math.max(0.1, ...shares.flat());
  const width = (WIDTH - LEFT - RIGHT) / recent.length;
  const y = (share) => BASE - (share / highest) * (BASE - TOP);
  const steps = shares[1].flatMap((share, place) =>
    [`${LEFT + place * width},${y(share)}`, `${LEFT + (place + 1) * width},${y(share)}`]);
  return chart(label, ...scale([0, highest], y, (share) => percent(share)),
    ...shares[0].map((share, place) => svg("rect", {
      class: "bar answer", x: LEFT + place * width + 1, width: width - 2, y: y(share), height: BASE - y(share),
    })),
    svg("polyline", { class: "line earlier", points: steps.join(" ") }),
    ...[0, 0.5, 1].map((score) => svg("text", {
      x: LEFT + score * (WIDTH - LEFT - RIGHT), y: HEIGHT - 5,
      "text-anchor": score === 0 ? "start" : score === 1 ? "end" : "middle",
    }, score.toFixed(1))));
}

function chart(label, ...parts) {
  return svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, ...parts);
}

function scale(values, y, shown) {
  return values.flatMap((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { x: LEFT - 6, y: y(value) + (value ? 10 : 0), "text-anchor": "end" }, shown(value)),
  ]);
}

function hours(times) {
  return [0, 0.5, 1].map((share) => {
    const place = Math.min(times.length - 1, Math.round(share * (times.length - 1)));
    return svg("text", {
      x: LEFT + share * (WIDTH - LEFT - RIGHT), y: HEIGHT - 5,
      "text-anchor": share === 0 ? "start" : share === 1 ? "end" : "middle",
    }, times[place]);
  });
}

function nice(number) {
  const step = 10 ** Math.floor(Math.log10(number));
  return Math.ceil(number / step) * step;
}
