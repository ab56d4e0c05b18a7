"""Hostile text of models on the page: Markdown and mathematics let nothing through."""

import random

import pytest
from browser import browser
from fuzzing import other_seeds
from test_server_api import serving

SEED = 18
LETTERS = 30_000
FRAGMENTS = [
    "<script>window.injected=1</script>",
    "<img src=x onerror=window.injected=1>",
    "<style>*{display:none}</style>",
    "<iframe src=//example.org>",
    "<svg onload=window.injected=1>",
    "<math><mtext><b onclick=x>",
    "</div></main>",
    "<base href=//example.org>",
    "<!--",
    "<![CDATA[",
    "&lt;script&gt;",
    "&#60;img src=x&#62;",
    "[a](javascript:window.injected=1)",
    "[a](JaVaScRiPt:alert(1))",
    "[a](data:text/html,<script>1</script>)",
    "[bank](http://example.org/x)",
    '[a](http://example.org "x onmouseover=1")',
    "![i](http://example.org/i.png)",
    "![i](data:image/svg+xml,<svg/>)",
    "<http://example.org/a>",
    "[r]\n\n[r]: javascript:1 'x'",
    r"\(\href{javascript:window.injected=1}{x}\)",
    r"$\url{javascript:1}$",
    r"$\class{hidden}{x}$",
    r"$\htmlId{error}{x}$",
    r"\(\style{position:fixed}{x}\)",
    r"\[\label{error} x \tag{1}\]",
    r"\begin{align}\label{error} x &= 1 \\ y\end{align}",
    r"$\includegraphics{http://example.org/i.png}$",
    r"$\def\a{\a\a}\a$",
    r"$\gdef\b{\c\c}\gdef\c{\b\b}\b$",
    r"$\rule{9999em}{9999em}$",
    r"$\kern-9999em x$",
    r"$\prescript{a}{b}{C}$",
    r"$\pmb{x}$",
    r"$\cancel{x}\sout{y}\cancelto{0}{z}$",
    r"$\color{red}x$",
    r"\boxed{<img src=x onerror=window.injected=1>}",
    r"\boxed{\boxed{\boxed{",
    "$5 and $10",
    "2*3*4",
    "$$",
    r"\[",
    r"\(",
    "```html\n<script>window.injected=1</script>\n```",
    "`<b>`",
    "> " * 9 + "x",
    "1. a\n   - b\n",
    "|a|b|\n|-|:-:|\n|<b>|x|\n",
    "# h\n",
    "***",
    "\n\n",
    "\n",
    " ",
    "\u202e",
    "\x00",
    "{{x}}",
    "${x}",
    "'\"`>",
]
PATHOLOGICAL = {
    "dollars": "$a " * (LETTERS // 3),
    "open parentheses": "\\(" * (LETTERS // 2),
    "open brackets": "\\[\n" * (LETTERS // 3),
    "double dollars": "$$\n" * (LETTERS // 3),
    "boxes": "\\boxed{" * (LETTERS // 7),
    "environments": "\\begin{align}" * (LETTERS // 13),
    "stars": "*" * LETTERS,
    "alternating stars": "*a_ " * (LETTERS // 4),
    "brackets": "[" * LETTERS,
    "images": "![](" * (LETTERS // 4),
    "quotes": ">" * LETTERS,
    "backticks": "".join("`" * n + " " for n in range(340)),
    "lists": "".join("  " * n + "- a\n" for n in range(240)),
    "tables": "|" * 500 + "\n" + "|-" * 500 + "\n" + ("|" * 500 + "\n") * 60,
    "entities": "&amp" * (LETTERS // 4),
    "formulas": "$x^2$ " * (LETTERS // 6),
    "deep formula": "$" + "{" * 900 + "x" + "}" * 900 + "$",
    "deep fractions": "$" + r"\frac{1}{" * 200 + "x" + "}" * 200 + "$",
    "macros": r"$\def\a{" + "x" * 1500 + "}" + r"\a" * 200 + "$",
}  # fmt: skip
RENDER = """
const [texts, done] = arguments;
import("/page/assets/markdown.js").then(({ markdown }) => {
  const place = document.createElement("div");
  place.className = "answer rendered";
  document.querySelector("main").append(place);
  const found = texts.map((text) => {
    const began = performance.now();
    place.replaceChildren(...markdown(text));
    const nodes = [...place.querySelectorAll("*")];
    return {
      seconds: (performance.now() - began) / 1000,
      tags: [...new Set(nodes.map((node) => node.localName))],
      attributes: [...new Set(nodes.flatMap((node) => node.getAttributeNames()))],
      addresses: [...place.querySelectorAll("[href]")].map((node) => node.getAttribute("href")),
      text: place.textContent,
      html: place.innerHTML.slice(0, 4000),
      width: document.documentElement.scrollWidth,
    };
  });
  place.remove();
  done(found);
}, (error) => done(String(error)));
"""
HTML_TAGS = {
    "p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "div", "table",
    "thead", "tbody", "tr", "th", "td", "hr", "br", "strong", "em", "s", "a", "span",
}  # fmt: skip
MATHML = {
    "math", "semantics", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "msup", "msub",
    "msubsup", "mfrac", "msqrt", "mroot", "munder", "mover", "munderover", "mtable", "mtr", "mtd",
    "mlabeledtr", "mstyle", "mpadded", "mphantom", "menclose", "mmultiscripts", "mprescripts",
    "none", "merror",
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as address, browser() as page:
        page.driver.set_script_timeout(60)
        page.open(address.removesuffix("/v1"), width=390, height=844)
        page.until(lambda: page.all("#curve svg"))
        yield page


def render(page, texts):
    found = page.driver.execute_async_script(RENDER, texts)
    assert isinstance(found, list), found
    return found


def test_hostile_text_becomes_harmless_elements(page):
    require_harmless(page, [*FRAGMENTS, *hostile_texts(random.Random(SEED), 400)])


@pytest.mark.fuzz
def test_hostile_text_of_other_seeds(page):
    for seed in other_seeds(0.1):
        require_harmless(page, hostile_texts(random.Random(seed), 100))


def hostile_texts(drawn, count):
    return ["".join(drawn.choices(FRAGMENTS, k=drawn.randint(2, 9))) for _ in range(count)]


def require_harmless(page, texts):
    for text, found in zip(texts, render(page, texts), strict=True):
        assert set(found["tags"]) <= HTML_TAGS | MATHML, text
        assert not {"id", "name", "src", "srcset", "srcdoc", "action"} & set(found["attributes"]), (
            text
        )
        assert not [name for name in found["attributes"] if name.startswith("on")], text
        assert all(a.startswith(("http://", "https://", "mailto:")) for a in found["addresses"]), (
            text
        )
        assert found["width"] == 390, text
    assert page.run("return window.injected ?? null") is None
    loaded = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert not [name for name in loaded if "example.org" in name]
    # Nothing was refused by the content-security policy either: nothing was tried.
    assert page.errors_of_the_console() == []


def test_text_of_any_shape_is_shown_in_time(page):
    for (name, text), found in zip(
        PATHOLOGICAL.items(), render(page, list(PATHOLOGICAL.values())), strict=True
    ):
        assert found["seconds"] < 10, (name, found["seconds"])
        assert len(text) < 100_000
    (long,) = render(page, ["**bold** " * 20_000])
    assert long["tags"] == ["p"] and long["text"].startswith("**bold**")


@pytest.mark.parametrize(
    "text, shown, tags",
    [
        ("It costs $5 to $10, not $20.", "It costs $5 to $10, not $20.", set()),
        ("2*3*4 = 24 and 2**3**1", "2*3*4 = 24 and 2**3**1", set()),
        ("**bold** and *soft*", "bold and soft", {"strong", "em"}),
        ("see [bank.example](http://evil.example/x)", "see bank.example (evil.example)", {"a"}),
        ("![tracker](http://evil.example/x.png)", "[image: tracker]", set()),
        ("```python\nprint('a*b')\n```", "print('a*b')\n", {"pre", "code"}),
        (r"The answer is \boxed{22}.", "The answer is 22.", {"math"}),
        (r"\[ x = \frac{1}{2}" + "\n\n" + r"+ 1 \]", "x=12+1", {"math", "mfrac"}),
        (r"\(x^2\) and $y_1$", "x2 and y1", {"math", "msup", "msub"}),
        (r"$\notacommand{$", r"$\notacommand{$", {"code"}),
        ("<b>bold</b>", "<b>bold</b>", set()),
    ],
)  # fmt: skip
def test_markdown_and_mathematics_are_shown_as_meant(page, text, shown, tags):
    (found,) = render(page, [text])
    assert found["text"].replace("\u2061", "") == shown
    assert tags <= set(found["tags"])
