// Builds elements from text; external content is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function find(id) {
  return document.getElementById(id);
}

// The items of a description list.
export function facts(pairs) {
  return pairs.map(([term, value]) =>
    element("div", {}, element("dt", {}, term), element("dd", {}, value)));
}

export function table(caption, headings, rows) {
  const cells = (row) => row.map((cell, place) =>
    place === 0 ? element("th", { scope: "row" }, cell) : element("td", {}, cell));
  return element("div", { class: "scroll" },
    element("table", {},
      element("caption", {}, caption),
      element("thead", {}, element("tr", {},
        ...headings.map((heading) => element("th", { scope: "col" }, heading)))),
      element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row))))));
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}
