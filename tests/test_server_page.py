"""The page in a real browser, before a real server."""

import asyncio
import re
import subprocess
import sys
import threading
from contextlib import contextmanager

import httpx
import pytest
from selenium.webdriver.common.keys import Keys as Press
from staged_server import Reply, chat, staged, usage
from test_server_api import MAIN, QUESTIONS, configured, counting, rows, serving

from trim.server.storage.database import open_database
from trim.server.storage.keys import Keys
from trim.steps import split_steps

SERVE = [sys.executable, "-c", MAIN, "serve"]
QUESTION = QUESTIONS[0]
HTML = '<img src=x onerror="window.injected=1"><script>window.injected=1</script><b>bold</b>'


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server")) as address:
        yield address.removesuffix("/v1")


@contextmanager
def staged_models(answer, delay=0.0):
    """Models over HTTP that say what a test has them say, in a thread of their own."""
    loop = asyncio.new_event_loop()
    running = threading.Thread(target=loop.run_forever)
    running.start()
    manager = staged(answer, delay)
    try:
        yield asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        running.join()
        loop.close()


def saying(text):
    """A model of three steps of which each holds a text."""

    def answer(request):
        messages = request.body["messages"]
        said = messages[1]["content"] if len(messages) > 1 else ""
        counts = usage(len(str(messages)), 5)
        if messages[0]["content"].startswith("Count"):
            return chat(" five, six", counts=counts, matched_stop=None)
        if len(split_steps(said)) == 2:
            return chat(rf"{text} \boxed{{{text}}}", counts=counts, matched_stop=7)
        return chat(text, counts=counts, matched_stop="\n\n")

    return answer


def test_a_question_is_answered_as_by_the_api(page, url):
    page.open(url)
    page.choose("#router", "trim:thr-0.95")
    page.run("document.getElementById('more').open = true")
    page.type("#seed", "5")
    before = httpx.get(f"{url}/page/traffic").json()["money"]
    page.ask(QUESTION)
    cost = httpx.get(f"{url}/page/traffic").json()["money"] - before
    said = httpx.post(
        f"{url}/v1/chat/completions", timeout=30,
        json={"model": "trim:thr-0.95", "seed": 5, "trim": {"steps": True},
              "messages": [{"role": "user", "content": QUESTION}]},
    ).json()  # fmt: skip
    (steps,) = said["usage"]["trim"]["steps"]
    shown = [texts[-1] for texts in texts_of_steps(page)]
    assert "\n\n".join(shown) == said["choices"][0]["message"]["content"]
    assert page.texts(".step .author") == [step["author"] for step in steps]
    assert {"weak", "strong"} == set(page.texts(".step .author"))
    assert page.texts(".step .score") == [f"score {step['score']:.2f}" for step in steps]
    for told, step in zip(page.texts(".step .decision"), steps, strict=True):
        wanted = "rewritten: score" if step["author"] == "strong" else "kept: score"
        assert told.startswith(wanted)
        assert ("is below 0.95" in told) == (step["author"] == "strong")
    dropped = [step["discarded"] for step in steps if step["discarded"]]
    assert [page.run("return arguments[0].textContent", found)
            for found in page.all(".dropped > del")] == dropped  # fmt: skip
    states = [re.findall(r"\d+", text) for text in page.texts(".belief")]
    assert len(states) == len(steps)
    assert all(98 <= sum(map(int, shares)) <= 102 for shares in states)
    assert "fitted model's" in page.one(".origin").text
    facts = dict(zip(page.texts(".end dt"), page.texts(".end dd"), strict=True))
    assert facts["strong tokens"] == str(said["usage"]["trim"]["strong_tokens"])
    assert dollars(facts["money"]) == pytest.approx(cost, rel=0.01)
    assert page.one("#status").get_attribute("textContent").startswith("Answer ")
    assert page.error() == ""
    page.shoot("light")


def dollars(text):
    assert text.startswith("$")
    return float(text[1:].replace(",", ""))


def test_the_spans_of_a_step_are_coloured_inside_it(page, url):
    for model in ("trim:token-0.9", "trim:thr-0.99+tail-0.9"):
        page.open(url)
        page.until(lambda: page.all("#router option"))
        page.run(
            "const option = new Option(arguments[0], arguments[0], true, true);"
            "document.getElementById('router').append(option)", model,
        )  # fmt: skip
        page.run("document.getElementById('more').open = true")
        page.type("#seed", "5")
        page.ask(QUESTION)
        said = httpx.post(
            f"{url}/v1/chat/completions", timeout=30,
            json={"model": model, "seed": 5, "trim": {"steps": True},
                  "messages": [{"role": "user", "content": QUESTION}]},
        ).json()  # fmt: skip
        (steps,) = said["usage"]["trim"]["steps"]
        mixed = [step["spans"] for step in steps if "spans" in step]
        assert mixed
        shown = page.run(
            "return [...document.querySelectorAll('.step.mixed')].map((step) =>"
            " [...step.querySelectorAll('p.text span')].map((span) =>"
            " [span.className, span.textContent]))"
        )
        spans = [[[span["author"], span["text"]] for span in each] for each in mixed]
        assert [[[author, text.rstrip()] for author, text in each] for each in shown] == [
            [[author, text.rstrip()] for author, text in each] for each in spans
        ]
        assert set(page.texts(".step.mixed .author")) == {"weak and strong"}
        decisions = page.texts(".step.mixed .decision strong")
        assert not any(decision == "kept" for decision in decisions)
        colours = {
            page.run("return getComputedStyle(arguments[0]).color", span)
            for span in page.all(".step.mixed p.text span")
        }
        assert len(colours) == 2
        assert page.all("del" if "+" in model else ".step.mixed p.text del")
        facts = dict(zip(page.texts(".end dt"), page.texts(".end dd"), strict=True))
        assert facts["strong calls"] == str(said["usage"]["trim"]["strong_calls"])


def texts_of_steps(page):
    """For each step the texts that were not dropped, as they are in the document."""
    return page.run(
        "return [...document.querySelectorAll('.step')].map((step) =>"
        " [...step.querySelectorAll('p.text')].map((text) => text.textContent))"
    )


def test_the_router_and_strong_alone_side_by_side(page, url):
    page.open(url, dark=True)
    page.choose("#router", "trim:thr-0.9")
    page.one("#compare").click()
    page.ask(QUESTION)
    assert page.texts(".solution h2") == ["trim", "Strong model alone"]
    assert set(page.texts(".solution:last-child .author")) == {"strong"}
    assert "the strong model solves alone" in page.one(".solution:last-child .how").text
    rows = {row[0]: row[1:] for row in cells(page, "#comparison tr")}
    assert rows[""] == ["thr:0.9", "strong alone", "difference"]
    assert set(rows) == {"", "answer", "strong tokens", "tokens decoded", "time", "money"}
    assert rows["answer"][:2] == page.answers()
    routed, alone = map(int, rows["strong tokens"][:2])
    assert 0 <= routed < alone
    assert rows["strong tokens"][2] == f"{round(100 * (1 - routed / alone))}\u00a0% fewer"
    words = r"% (less|more|shorter|longer)|times as (long|much)|the same"
    for row in ("time", "money"):
        assert re.search(words, rows[row][2].replace("\u00a0", " "))
    page.shoot("dark")


def cells(page, selector):
    """The texts of rows, as they are in the document."""
    return page.run(
        "return [...document.querySelectorAll(arguments[0])].map((row) =>"
        " [...row.cells].map((cell) => cell.textContent))",
        selector,
    )


def chosen(page):
    return dict(zip(page.texts("#chosen dt"), page.texts("#chosen dd"), strict=True))


def test_the_budget_is_moved_and_the_router_follows(page, url):
    page.open(url)
    page.until(lambda: page.all("#curve svg"))
    menu = httpx.get(f"{url}/page/menu").json()
    offers = {offer["name"]: offer for offer in menu["curve"]}
    assert "500 problems of chain, seed 0" in page.one("#measured").text
    page.run("document.getElementById('budget').focus()")
    page.press(Press.HOME)
    seen, policies, shares = [], [], []
    for _ in range(30):
        now = chosen(page)
        if seen and seen[-1] == now:
            break
        seen.append(now)
        offer = offers[now["router"]]
        assert now["right"] == f"{100 * offer['accuracy']:.1f} %"
        assert now["strong tokens"] == f"{100 * offer['strong_share']:.1f} %"
        for_many = dollars(now["for 1,000 questions"])
        assert for_many == pytest.approx(1000 * offer["money"], rel=0.05)
        spoken = page.one("#budget").get_attribute("aria-valuetext")
        assert now["router"] in spoken and now["right"] in spoken.replace("\u00a0", " ")
        shares.append(offer["strong_share"])
        page.press(Press.ARROW_RIGHT)
    assert len(seen) > 10 and seen[0]["router"] == "weak"
    assert shares == sorted(set(shares))
    for key in (Press.HOME, Press.END):
        page.run("document.getElementById('budget').focus()")
        page.press(key)
        wanted = chosen(page)["router"].replace("-", ":")
        page.ask(QUESTION)
        policies.append(page.one(".solution .how").text)
        alone = {name: f"whole by the {name} model" for name in ("weak", "strong")}
        assert policies[-1].startswith(f"{alone.get(wanted, f'router {wanted}')} ")
    assert policies[0] != policies[1]
    # The model's name and the API mean the same by this budget.
    said = httpx.post(
        f"{url}/v1/chat/completions", timeout=30,
        json={"model": "trim", "trim": {"strong_share": shares[-1]},
              "messages": [{"role": "user", "content": QUESTION}]},
    ).json()  # fmt: skip
    assert f"router {said['usage']['trim']['policy']} " in policies[1]


def test_a_usual_router_off_the_curve_is_chosen_as_it_is(page, tmp_path):
    with serving(tmp_path, "--policy", "cascade:1") as address:
        page.open(address.removesuffix("/v1"))
        page.until(lambda: page.all("#router option"))
        page.ask(QUESTION)
        assert page.one("#router").get_attribute("value") == "trim"
        assert page.one(".solution .how").text.startswith("router cascade:1 ")
        assert not page.one("#budget").is_displayed()
        # Such a router throws the weak model's solution away at its end.
        weak, strong = (
            page.run(
                "return [...document.querySelectorAll(arguments[0])].map((text) =>"
                " getComputedStyle(text).textDecorationLine)", selector,
            )
            for selector in (".step.abandoned .text", ".step:not(.abandoned) .text")
        )  # fmt: skip
        assert set(weak) == {"line-through"} and set(strong) == {"none"}
        assert page.texts(".step:not(.abandoned) .number")[0] == "1"
        assert set(page.texts(".step:not(.abandoned) .author")) == {"strong"}
        assert "restarted: lowest score" in page.texts(".decision")[-1]
        page.shoot("anew")
        page.choose("#router", "")
        assert page.one("#budget").is_displayed()


def test_a_mistake_is_one_line_beside_the_form_and_the_question_stays(page, url):
    page.open(url)
    page.until(lambda: page.all("#curve svg"))
    assert page.one("#error").get_attribute("role") == "alert"
    page.one("#ask").click()
    assert (page.error(), page.focused()) == ("Type a question first.", "question")
    page.choose("#router", "trim:weak")
    page.run("document.querySelector('#router').selectedOptions[0].value = 'trim:nonsense'")
    page.ask(QUESTION)
    assert page.error() == "This server has no such router. Choose another one."
    assert "unknown router 'nonsense'" in page.one("#report").get_attribute("textContent")
    assert page.one("#question").get_attribute("value") == QUESTION
    assert not page.all(".solution")
    page.choose("#router", "trim:strong")
    page.run("document.getElementById('question').value = 'word '.repeat(5000)")
    page.one("#ask").click()
    page.until(page.error)
    assert page.error() == "The question is too long for these models. Shorten it."
    page.ask(QUESTION)
    assert not page.one("#reported").is_displayed()
    assert page.error() == "" and page.answers()


async def two_keys(folder):
    engine = await open_database(str(folder / "trim.sqlite"))
    made = [await Keys(engine).create(name, operator=name == "boss") for name in ("app", "boss")]
    await engine.dispose()
    return made


def test_who_needs_a_key_types_it_in(page, tmp_path):
    plain, boss = asyncio.run(two_keys(tmp_path))
    with serving(tmp_path) as address:
        url = address.removesuffix("/v1")
        page.open(url)
        page.until(lambda: page.one("#more").get_attribute("open"))
        page.ask(QUESTION)
        assert "asks for a key" in page.error() and page.focused() == "key"
        page.press(plain, Press.ENTER)
        page.type("#question", QUESTION)
        page.one("#ask").click()
        page.until(lambda: page.ended() and page.answers())
        assert page.error() == ""
        assert page.run("return [sessionStorage.length, localStorage.length]") == [1, 0]
        assert plain not in page.driver.page_source
        page.driver.refresh()
        page.ask(QUESTION)
        assert page.answers()
        page.open(f"{url}/operator")
        page.until(page.error)
        assert "--operator" in page.error() and not page.all("#view .panel")
        page.type("#key", boss)
        page.press(Press.ENTER)
        page.until(lambda: page.all("#view .panel"))
        assert page.error() == ""
        spending = {row[1]: row for row in cells(page, "[aria-label=Spending] tr")}
        assert spending["app"][2] != "0"
        page.run("sessionStorage.clear()")


def test_what_breaks_is_told(page, tmp_path):
    """A model that fails, a server that is killed in the middle, and one that is gone."""
    failing = False

    def answer(request):
        deep = len(request.body["messages"]) > 1
        return Reply({"error": "gone"}, 500) if failing and deep else steps(request)

    steps = saying("a step")
    with staged_models(answer, delay=0.15) as models:
        path = configured(tmp_path, models)
        process = subprocess.Popen(
            [*SERVE, str(path), "--port", "0", "--database", str(tmp_path / "t.sqlite")],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        url = process.stderr.readline().split()[-1].removesuffix("/v1")
        try:
            page.open(url)
            failing = True
            page.ask("a question")
            assert page.error().startswith("A model does not answer.")
            report = page.one("#report").get_attribute("textContent")
            assert "no answer in 1 attempt" in report and "500" in report
            assert page.one("#question").get_attribute("value") == "a question"
            assert page.one(".state").text == "Not complete."
            failing = False
            page.press(Press.ENTER)
            page.until(lambda: page.all(".step"))
            process.kill()
            page.until(page.ended)
            assert page.error().startswith("The connection was cut")
            page.press(Press.ENTER)
            page.until(lambda: page.error().startswith("The server does not answer"))
        finally:
            process.kill()
            process.wait(30)
            process.stderr.close()


def test_who_stops_stops_the_work(page, tmp_path):
    with (
        staged_models(counting) as models,
        serving(tmp_path, configured(tmp_path, models), "--policy", "random:0") as address,
    ):
        models.delay = 0.3
        page.open(address.removesuffix("/v1"))
        page.type("#question", "a question")
        for stop in (Press.ESCAPE, "the button"):
            before = len(models.requests)
            page.run("document.getElementById('question').focus()")
            page.press(Press.ENTER)
            page.until(lambda: page.all(".step"))
            assert page.one("#stop").is_enabled() and not page.one("#ask").is_enabled()
            if stop is Press.ESCAPE:
                page.press(stop)
            else:
                page.one("#stop").click()
            page.until(page.ended)
            assert page.one(".state").text == "Stopped." and page.error() == ""
            page.until(lambda: "trim_running 0.0" in figures(address))
            assert len(models.requests) < before + 30  # It would go on without end.
        page.until(lambda: ends(tmp_path) == ["abandoned", "abandoned"])


def ends(folder):
    return [finish for finish, _ in asyncio.run(rows(folder))]


def figures(address):
    return httpx.get(address.removesuffix("/v1") + "/metrics").text


def test_html_in_questions_and_answers_is_text(page, tmp_path):
    with (
        staged_models(saying(HTML)) as models,
        serving(tmp_path, configured(tmp_path, models)) as address,
    ):
        page.open(address.removesuffix("/v1"))
        page.ask(HTML)
        assert page.error() == ""
        kept = [texts[-1] for texts in texts_of_steps(page)]
        assert kept[0] == HTML and len(kept) == 3
        assert page.answers() == [HTML]
        assert page.all("main img, main b, main script") == []
        assert page.run("return window.injected ?? null") is None
        # Nor would it run if it got in.
        page.run(
            "const link = document.createElement('div'); link.innerHTML = arguments[0];"
            "document.body.append(link)", '<i onclick="window.injected=1" id="trap">x</i>',
        )  # fmt: skip
        page.one("#trap").click()
        assert page.run("return window.injected ?? null") is None
        refused = page.errors_of_the_console()
        assert any("Content Security Policy" in said for said in refused)


@pytest.mark.parametrize("path", ["/", "/operator"])
def test_pages_forbid_what_is_not_theirs(url, path):
    answer = httpx.get(url + path)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert " style=" not in answer.text and " on" not in re.sub(r">[^<]*<", "><", answer.text)
    assert re.findall(r"https?:", answer.text) == []
    for name in ("../routes.py", "%2e%2e/routes.py", "nothing.js", "..%2froutes.py"):
        assert httpx.get(f"{url}/page/assets/{name}").status_code == 404


CONTRAST = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const luminance = (colour) => {
  const [r, g, b] = channels(colour).map((channel) => linear(channel / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  const ground = getComputedStyle(element).backgroundColor;
  return channels(ground)[3] === 0 ? behind(element.parentElement) : ground;
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const poor = [];
let seen = 0;
while (texts.nextNode()) {
  const element = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || element.closest(":disabled, option, .hidden")) continue;
  if (!element.checkVisibility()) continue;
  const { fill, color } = getComputedStyle(element);
  const here = luminance(element instanceof SVGElement ? fill : color) + 0.05;
  const there = luminance(behind(element)) + 0.05;
  const ratio = Math.max(here, there) / Math.min(here, there);
  seen += 1;
  if (ratio < 4.5) poor.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
}
return [seen, poor];
"""


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read_in_light_and_in_the_dark(page, url, dark):
    page.open(url, dark=dark)
    page.choose("#router", "trim:thr-0.95")
    page.one("#compare").click()
    page.ask(QUESTION)
    for path in ("/", "/operator"):
        if path != "/":
            page.open(url + path, dark=dark)
            page.until(lambda: page.all("#view table"))
        seen, poor = page.run(CONTRAST)
        assert seen > 30 and poor == []
        ground = page.run("return getComputedStyle(document.body).backgroundColor")
        assert (max(map(int, re.findall(r"\d+", ground))) < 60) == dark


def test_a_phone_shows_it_without_scrolling_sideways(page, url):
    for path in ("/", "/operator"):
        page.open(url + path, width=360, height=740)
        if path == "/":
            page.one("#compare").click()
            page.ask("x" * 300 + " " + QUESTION)
            page.ask(QUESTION)
            page.shoot("phone", width=360)
        else:
            page.until(lambda: page.all("#view table"))
            page.shoot("operator-phone", width=360)
        assert page.run("return document.documentElement.scrollWidth") == 360
        page.run("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.run("return document.documentElement.scrollWidth") == 360


def test_the_keyboard_is_enough(page, url):
    page.open(url)
    page.until(lambda: page.all("#curve svg"))
    met = []
    for _ in range(20):
        page.press(Press.TAB)
        met.append(page.focused())
        outline = page.run("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", met
        if met[-1] == "budget":
            break
    order = ["question", "ask", "example", "compare", "router", "budget"]
    assert [name for name in met if name in order] == order
    for control in page.all("textarea, input, select"):
        assert page.run("return arguments[0].labels.length", control) == 1
    page.press(Press.END)
    for _ in range(len(met)):
        if page.focused() == "compare":
            break
        page.press(Press.SHIFT, Press.TAB)
    page.press(Press.SPACE)
    assert page.one("#compare").is_selected()
    page.press(Press.SHIFT, Press.TAB)
    page.press(Press.SPACE)  # The example.
    assert page.focused() == "question"
    page.press(Press.CONTROL, Press.ENTER)
    page.until(lambda: page.ended() and len(page.answers()) == 2)
    assert page.focused() == "question"
    for summary in page.all(".dropped summary")[:1]:
        page.run("arguments[0].focus()", summary)
        page.press(Press.ENTER)
        assert page.one(".dropped").get_attribute("open")


@pytest.mark.parametrize("calm", [True, False])
def test_nothing_moves_for_those_who_want_it_still(page, url, calm):
    page.open(url, calm=calm)
    page.ask(QUESTION)
    names = page.run(
        "return [...document.querySelectorAll('*')].map((e) => getComputedStyle(e).animationName)"
    )
    assert (set(names) == {"none"}) == calm


def test_nothing_comes_from_elsewhere(page, url):
    for path in ("/", "/operator"):
        page.open(url + path)
        if path == "/":
            page.ask(QUESTION)
        else:
            page.until(lambda: page.all("#view table"))
        loaded = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
        assert len(loaded) > 5
        assert [name for name in loaded if not name.startswith(url)] == []


def test_the_operator_sees_the_traffic_just_made(page, tmp_path):
    with serving(tmp_path) as address:
        url = address.removesuffix("/v1")
        page.open(f"{url}/operator")
        page.until(lambda: page.all("#view .panel"))
        assert "Nothing was spent" in page.one("[aria-label=Spending]").text
        spent = [
            httpx.post(
                f"{address}/chat/completions", timeout=30,
                json={"model": f"trim:{name}", "seed": seed,
                      "messages": [{"role": "user", "content": question}]},
            ).json()["usage"]["trim"]
            for seed, question in enumerate(QUESTIONS[:6])
            for name in ("thr-0.9", "strong")
        ]  # fmt: skip
        page.one("button").click()
        page.until(lambda: page.all("#view table"))
        facts = dict(zip(page.texts("dl dt"), page.texts("dl dd"), strict=True))
        assert facts["requests"] == str(len(spent))
        assert dollars(facts["money"]) == pytest.approx(
            sum(one["money"] for one in spent), rel=0.01
        )
        strong = sum(one["strong_tokens"] for one in spent)
        share = strong / (strong + sum(one["weak_tokens"] for one in spent))
        assert facts["strong share"] == f"{100 * share:.1f} %"
        rows = cells(page, "[aria-label='Strong share'] tbody tr")
        half = str(len(spent) // 2)
        assert {(row[0], row[1]) for row in rows} == {("strong", half), ("thr:0.9", half)}
        routed = [one for one in spent if one["policy"] == "thr:0.9"]
        strong_alone = 4e-6 * sum(one["strong_tokens"] + one["weak_tokens"] for one in routed)
        saved = strong_alone - sum(one["money"] for one in routed)
        headline = page.one("#saved .headline").text
        assert dollars(headline.split()[1]) == pytest.approx(saved, rel=0.01)
        page.until(lambda: len(page.all(".request")) == 10)
        page.one("[aria-label='Requests one by one'] > button").click()
        page.until(lambda: len(page.all(".request")) == len(spent))
        page.one(".request summary").click()
        page.until(lambda: page.all(".request[open] .step"))
        authors = page.texts(".request[open] .author")
        assert set(authors) == {"strong"}
        assert len(page.all(".request[open] .block")) == len(authors)
        assert "--keep-texts" in page.one("[aria-label='Requests one by one'] > .quiet").text
        (row,) = cells(page, "[aria-label=Spending] tbody tr")
        assert (row[1], row[3]) == ("without a key", f"{strong:,}")
        assert not page.all("[aria-label=Warnings]")
        assert "Too few to compare: 6 first drafts" in page.one("[aria-label=Scores]").text
        bars = page.all("[aria-label='Requests over time'] rect.bar.answer")
        assert 1 <= len(bars) <= 2
        page.shoot("operator")
