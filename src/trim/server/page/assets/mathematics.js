// Mathematics in TeX: its delimiters in Markdown, and MathML.

import { element } from "./element.js";

const LONGEST = 2_000; // Characters of a formula.
const EXPANSIONS = 100; // Of macros, which a formula may define.
const LARGEST = [20, 20]; // Sizes in em.
const ENVIRONMENT = /^\\begin\{((?:equation|align|alignat|gather|multline)\*?|aligned|gathered|split|cases|array|[pbBvV]?matrix)\}/;
const PAIRS = [["\\(", "\\)", false], ["\\[", "\\]", true], ["$$", "$$", true]];
const BOXED = "\\boxed{";

// A plug-in of markdown-it.
export function mathematics(parser) {
  parser.block.ruler.before("fence", "mathematics", block, { alt: ["paragraph", "reference", "blockquote", "list"] });
  parser.inline.ruler.before("escape", "mathematics", inline);
  parser.inline.ruler.before("emphasis", "product", product);
}

// MathML, or the source where the TeX is not understood.
export function formula(tex, display, source) {
  try {
    const tree = globalThis.temml.__renderToMathMLTree(tex, {
      displayMode: display, maxExpand: EXPANSIONS, maxSize: LARGEST, throwOnError: true, trust: false,
    });
    tidy(tree);
    return tree.toNode();
  } catch {
    return element("code", {}, source);
  }
}

// Moves styles out of attributes, which the content-security policy refuses, and drops ids.
function tidy(node) {
  const { attributes, style } = node;
  if (attributes?.style && style) {
    for (const rule of attributes.style.split(";")) {
      const [name, value] = rule.split(":");
      if (value) style[name.trim()] = value.trim();
    }
  }
  if (attributes) {
    delete attributes.style;
    delete attributes.id;
  }
  node.children?.forEach(tidy);
}

// A formula of its own lines: between them nothing is Markdown.
function block(state, start, end, silent) {
  const from = state.bMarks[start] + state.tShift[start];
  if (state.sCount[start] - state.blkIndent >= 4 || !/^(\\[[b]|\$\$)/.test(state.src.slice(from, from + 2))) return false;
  let last = start;
  while (last < end && (state.isEmpty(last) || state.sCount[last] >= state.blkIndent)
    && state.eMarks[last] - from < LONGEST) last += 1;
  const source = state.src.slice(from, state.eMarks[Math.max(start, last - 1)]);
  const found = delimited(source, 0);
  if (!found?.display) return false;
  const rest = source.slice(found.end).split("\n", 1)[0].trim();
  if (!/^[.,;:]?$/.test(rest)) return false;
  if (silent) return true;
  push(state, found, source);
  state.line = start + source.slice(0, found.end).split("\n").length;
  return true;
}

function inline(state, silent) {
  const found = delimited(state.src, state.pos);
  if (!found || found.end > state.posMax) return false;
  if (!silent) push(state, found, state.src.slice(state.pos));
  state.pos = found.end;
  return true;
}

function push(state, { tex, display, end }, source) {
  const token = state.push("mathematics", "", 0);
  token.content = tex;
  token.markup = source.slice(0, end);
  token.meta = { display };
}

// The formula that begins at a place of a text, or null.
function delimited(text, at) {
  if (text[at] === "\\") {
    const environment = ENVIRONMENT.exec(text.slice(at, at + 20));
    if (environment) {
      const closing = `\\end{${environment[1]}}`;
      const end = search(text, closing, at);
      return end < 0 ? null : whole(text, at, end + closing.length, true);
    }
    if (text.startsWith(BOXED, at)) {
      const end = balanced(text, at + BOXED.length);
      return end < 0 ? null : whole(text, at, end, false);
    }
  } else if (text[at] !== "$") return null;
  for (const [opening, closing, display] of PAIRS) {
    if (!text.startsWith(opening, at)) continue;
    const end = search(text, closing, at + opening.length);
    if (end <= at + opening.length) return null;
    return { tex: text.slice(at + opening.length, end), display, end: end + closing.length };
  }
  return text[at] === "$" ? dollars(text, at) : null;
}

function whole(text, from, end, display) {
  return { tex: text.slice(from, end), display, end };
}

function search(text, closing, from) {
  const end = text.slice(from, from + LONGEST).indexOf(closing);
  return end < 0 ? -1 : from + end;
}

// `$x$`, not `$5 or $10`: no space inside the dollars, no digit after them, no letter before.
function dollars(text, at) {
  if (/[\w\\]/.test(text[at - 1] ?? "") || /[\s$]/.test(text[at + 1] ?? " ")) return null;
  for (let end = text.indexOf("$", at + 1); end > 0 && end - at < LONGEST; end = text.indexOf("$", end + 1)) {
    if (/[\s\\]/.test(text[end - 1]) || /\d/.test(text[end + 1] ?? "")) continue;
    const tex = text.slice(at + 1, end);
    return tex.includes("\n\n") ? null : { tex, display: false, end: end + 1 };
  }
  return null;
}

// The place after the brace that closes one before `from`.
function balanced(text, from) {
  let depth = 1;
  for (let at = from; at < text.length && at - from < LONGEST; at += 1) {
    if (text[at] === "\\") at += 1;
    else if (text[at] === "{") depth += 1;
    else if (text[at] === "}" && --depth === 0) return at + 1;
  }
  return -1;
}

// A star between letters or digits multiplies: `2*3*4` has no emphasis.
function product(state, silent) {
  const { src, pos } = state;
  if (src[pos] !== "*" || !/[A-Za-z0-9)]/.test(src[pos - 1] ?? "")) return false;
  let end = pos;
  while (src[end] === "*") end += 1;
  if (end > state.posMax || !/[A-Za-z0-9(]/.test(src[end] ?? "")) return false;
  if (!silent) state.pending += src.slice(pos, end);
  state.pos = end;
  return true;
}
