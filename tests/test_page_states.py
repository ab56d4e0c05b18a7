"""Every state of the pages, on a desktop and a phone, by day and by night.

Pictures are left in `build/screenshots/`; what a test can assert of them is asserted.
"""

import asyncio

import pytest
from selenium.webdriver.common.keys import Keys as Press
from staged_server import Reply, chat, usage
from test_report import make_summary, make_trace
from test_server_api import configured, serving
from test_server_page import CONTRAST, staged_models, two_keys

from trim.evaluation.evaluation_page import write_report
from trim.evaluation.plot import curve_svg

SCREENS = [(1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True)]
CODE = "```python\ndef double(number):\n    return 2 * number  # " + "long " * 30 + "\n```"
PROSE = (
    "# Divisors\n\nWe **factor** first:\n\n- 196 = 2*2*7*7\n- so $196 = 2^2 \\cdot 7^2$\n\n"
    "| prime | power |\n|---|---|\n| 2 | 2 |"
)
PROOF = (
    r"\[ d(196) = (2+1)(2+1) = \frac{18}{2} \]"
    + "\n\n"
    + r"The answer is \(\boxed{\frac{18}{2}}\)."
)
HOLD = """
const held = new Promise((done) => { window.release = done; });
const answered = window.fetch;
window.fetch = async (...words) => { await held; return answered(...words); };
"""
TEXTS = {"code": [CODE], "mathematics": [PROSE, PROOF], "prose": ["There is an old pond."]}


def answer(request):
    """A model that writes the text that the question names, a paragraph at a time."""
    messages = request.body["messages"]
    counts = usage(len(str(messages)), 5)
    if messages[0]["content"].startswith("Count"):
        return chat(" five, six", counts=counts, matched_stop=None)
    if "failure" in messages[0]["content"]:
        return Reply({"error": "gone"}, 500)
    text = next((text for name, text in TEXTS.items() if name in messages[0]["content"]), ["?"])
    paragraphs = "\n\n".join(text).split("\n\n")
    said = messages[1]["content"] if len(messages) > 1 else ""
    place = min(said.count("\n\n"), len(paragraphs) - 1)
    stop = 7 if place == len(paragraphs) - 1 else "\n\n"
    return chat(paragraphs[place], counts=counts, matched_stop=stop)


@pytest.fixture(scope="module")
def models():
    with staged_models(answer) as models:
        yield models


@pytest.fixture(scope="module")
def url(tmp_path_factory, models):
    folder = tmp_path_factory.mktemp("server")
    words = ("--policy", "random:0", "--keep-texts")
    with serving(folder, configured(folder, models), *words) as address:
        yield address.removesuffix("/v1")


def check(page, name, screen):
    """What holds for every state of every page."""
    width, height, dark = screen
    assert page.run("return document.documentElement.scrollWidth") <= width
    seen, poor = page.run(CONTRAST)
    # By night the plot of a report is inverted as a whole, which styles do not show.
    assert seen and [each for each in poor if not (dark and name.startswith("report"))] == []
    for control in page.all("button, input, select, textarea, summary"):
        if control.is_displayed() and width < 500:
            assert control.rect["x"] >= 0
            assert control.rect["x"] + control.rect["width"] <= width
    place = page.run("return scrollY")
    kind = f"{'phone' if width < 500 else 'desktop'}-{'dark' if dark else 'light'}"
    page.shoot(f"state-{name}-{kind}", width=width, height=height)
    page.run("scrollTo(0, arguments[0])", place)


def in_sight(page, selector):
    """Whether an element begins in the upper two thirds of the window."""
    top, height = page.run(
        "return [document.querySelector(arguments[0]).getBoundingClientRect().top, innerHeight]",
        selector,
    )
    return -1 <= top <= 2 * height / 3


@pytest.mark.parametrize("screen", SCREENS)
def test_every_state_of_the_question(page, url, models, screen):
    width, height, dark = screen
    page.open(url, width=width, height=height, dark=dark)
    page.until(lambda: page.all("#router option"))
    lead = page.one(".lead").text
    assert lead.startswith("A cheap model drafts") and "weak drafts and strong rewrites" in lead
    assert page.one("#question").get_attribute("placeholder").startswith("For example: How many")
    check(page, "empty", screen)

    models.delay = 0.3
    page.type("#question", "mathematics")
    page.press(Press.ENTER)
    page.until(lambda: page.all(".rendered h3"))
    assert (
        in_sight(page, ".solution") and page.one(".solution .top button:last-child").text == "Stop"
    )
    assert page.one(".solution").get_attribute("aria-busy") == "true"
    check(page, "running", screen)
    models.delay = 0
    page.until(page.ended)
    assert in_sight(page, ".result") and not page.one(".state").is_displayed()
    assert page.one(".result").text.startswith("Answer")
    assert len(page.all(".result math mfrac")) == 1 and len(page.all(".rendered math")) == 3
    assert page.texts(".rendered li")[0] == "196 = 2*2*7*7" and page.all(".rendered table td")
    assert page.one(".answer").rect["y"] < page.one(".course").rect["y"]
    check(page, "mathematics", screen)

    page.ask("code")
    assert "No answer" not in page.one(".solution").text and not page.one(".result").is_displayed()
    assert page.one(".rendered pre code").get_attribute("textContent").startswith("def double")
    assert in_sight(page, ".rendered") and not page.one(".state").is_displayed()
    assert set(page.texts(".legend dt")) <= {"", "weak"}
    assert page.run(
        "return [...document.querySelectorAll('.legend dt')].map((e) => e.textContent)"
    ) == ["weak"]
    page.run("navigator.clipboard.writeText = (text) => { window.copied = text; }")
    page.one(".copy").click()
    page.until(lambda: page.one(".copy").text == "Copied")
    assert page.run("return window.copied") == CODE
    check(page, "code", screen)

    page.one("#compare").click()
    page.ask("prose")
    assert [texts.strip() for texts in page.texts(".rendered")] == TEXTS["prose"] * 2
    assert in_sight(page, "#comparison")
    hidden = page.run(
        "const box = document.querySelector('#comparison .scroll');"
        "return box.scrollWidth - box.clientWidth"
    )
    assert hidden <= 0
    check(page, "comparison", screen)
    page.one("#compare").click()

    page.ask("failure")
    assert page.error() == "A model does not answer. Try again in a few seconds."
    assert in_sight(page, "#error") and not page.all(".solution")
    check(page, "error", screen)


@pytest.mark.parametrize("screen", [SCREENS[0], SCREENS[3]])
def test_every_state_of_the_operators_view(page, url, screen):
    width, height, dark = screen
    # The server's answers are held back until the test has seen the page without them.
    held = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": HOLD})
    page.open(url + "/operator", width=width, height=height, dark=dark)
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", held)
    assert page.one(".loading").text == "Loading the traffic …"
    assert page.one("#view").get_attribute("aria-busy") == "true"
    assert not page.all("#saved .headline")
    check(page, "operator-loading", screen)
    page.run("window.release()")
    page.until(lambda: page.all(".request") or page.all("#requests .quiet"))
    page.until(lambda: page.one("#view").get_attribute("aria-busy") == "false")
    page.open(url, width=width, height=height, dark=dark)
    page.ask("mathematics")
    page.open(url + "/operator", width=width, height=height, dark=dark)
    page.until(lambda: page.all(".request"))
    places = [page.one(one).rect["y"] for one in ("#saved .headline", ".request", "#view .facts")]
    assert places == sorted(places) and page.one("#saved .headline").is_displayed()
    assert page.one(".request .asked").text == "mathematics"
    page.one(".request summary").send_keys(Press.ENTER)
    page.until(lambda: page.all(".request[open] .step"))
    assert page.texts(".request[open] .step p.text")[0] == "# Divisors"
    check(page, "operator", screen)
    # A refresh leaves open what is open.
    before = page.one("#updated").text
    page.until(lambda: page.one("#form button").click() or page.one("#updated").text != before)
    assert page.all(".request[open] .step")


@pytest.mark.parametrize("screen", [SCREENS[1], SCREENS[2]])
def test_a_server_with_keys_and_without_traffic(page, tmp_path, models, screen):
    width, height, dark = screen
    _, boss = asyncio.run(two_keys(tmp_path))
    with serving(tmp_path, configured(tmp_path, models)) as address:
        url = address.removesuffix("/v1")
        page.open(url, width=width, height=height, dark=dark)
        page.until(lambda: page.one("#more").get_attribute("open"))
        page.ask("prose")
        assert page.error() == "This server asks for a key. Type one in."
        check(page, "key", screen)
        page.open(url + "/operator", width=width, height=height, dark=dark)
        page.until(page.error)
        assert not page.all(".loading") and page.one("#key").is_displayed()
        check(page, "operator-key", screen)
        page.type("#key", boss)
        page.press(Press.ENTER)
        page.until(lambda: page.all("#saved .headline"))
        assert page.one("#saved .headline").text == "Nothing to compare yet"
        page.until(lambda: "No request yet" in page.one("#requests .quiet").text)
        check(page, "operator-empty", screen)
        page.run("sessionStorage.clear()")


@pytest.mark.parametrize("screen", SCREENS)
def test_a_report_of_an_evaluation(page, tmp_path, screen):
    width, height, dark = screen
    summary = make_summary()
    facts = [("weak model", "a"), ("strong model", "b"), ("date", "2026-01-31"), ("prices", "USD")]
    traces = [make_trace(policy, 0.2, i) for i in range(3) for policy in ("thr", "random")]
    path = write_report(summary, traces, curve_svg(summary), tmp_path, facts)
    page.open(path.as_uri(), width=width, height=height, dark=dark)
    assert in_sight(page, ".verdict") and in_sight(page, "dl.facts")
    if width == 1280:
        tables = page.run(
            "return [...document.querySelectorAll('.table')].map((table) => "
            "[table.querySelector('thead').innerText, table.scrollWidth - table.clientWidth])"
        )
        assert all(hidden <= 0 for _, hidden in tables), tables
    check(page, "report", screen)
    page.one("details.problem summary").click()
    page.one("details.problem details summary").click()
    page.run("document.querySelector('details.problem').scrollIntoView()")
    check(page, "report-traces", screen)
