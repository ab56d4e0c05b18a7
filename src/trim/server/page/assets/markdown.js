// Markdown with mathematics as elements. A model's text is hostile: nothing in it is parsed as
// HTML, and nothing that it names is loaded.

import { element } from "./element.js";
import { formula, mathematics } from "./mathematics.js";

const LONGEST = 100_000; // Characters; a longer text stays as it is.
const FORMULAS = 500; // More of them stay in TeX.
const BLOCKS = ["p", "blockquote", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td"];
const TAGS = new Set([...BLOCKS, "strong", "em", "s"]);
const ADDRESS = /^(https?|mailto):/i;

const parser = globalThis.markdownit({ html: false, breaks: true }).use(mathematics);

// The elements of a text.
export function markdown(text) {
  if (text.length > LONGEST) return [element("p", { class: "plain" }, text)];
  const root = element("div");
  build(root, parser.parse(text, {}), { formulas: 0 });
  return [...root.childNodes];
}

function build(root, tokens, seen) {
  const open = [root];
  for (const token of tokens) {
    const inside = open.at(-1);
    if (token.hidden) continue;
    if (token.type === "inline") build(inside, token.children, seen);
    else if (token.nesting === 1) open.push(begin(inside, token));
    else if (token.nesting === -1) end(open.pop());
    else inside.append(leaf(token, seen));
  }
}

function begin(inside, token) {
  const node = container(token);
  inside.append(token.tag === "table" ? element("div", { class: "scroll", tabindex: 0 }, node) : node);
  return node;
}

function container(token) {
  const { tag } = token;
  if (/^h[1-6]$/.test(tag)) return element(`h${Math.min(6, Number(tag[1]) + 2)}`);
  if (tag === "a" && ADDRESS.test(token.attrGet("href"))) {
    return element("a", { href: token.attrGet("href"), rel: "noopener noreferrer nofollow", target: "_blank" });
  }
  if (tag === "ol") return element("ol", { start: token.attrGet("start") });
  return element(TAGS.has(tag) ? tag : "span");
}

// A link names its host: its text may claim another one.
function end(node) {
  if (node.localName === "a" && node.host && !node.textContent.includes(node.host)) {
    node.append(` (${node.host})`);
  }
}

function leaf(token, seen) {
  switch (token.type) {
    case "softbreak":
    case "hardbreak": return element("br");
    case "hr": return element("hr");
    case "code_inline": return element("code", {}, token.content);
    case "fence":
    case "code_block": return element("pre", { tabindex: 0 }, element("code", {}, token.content));
    case "image": return `[image: ${token.content}]`;
    case "mathematics":
      seen.formulas += 1;
      return seen.formulas > FORMULAS
        ? element("code", {}, token.markup) : formula(token.content, token.meta.display, token.markup);
    default: return token.content;
  }
}
