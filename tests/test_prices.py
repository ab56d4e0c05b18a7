"""Money from tokens, and price lists that are refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trim.costs import Price, Prices, hidden_strong_usage, payer, read_prices
from trim.errors import InvalidInput
from trim.types import Trace, Usage

prices = st.floats(0, 1e6)
counts = st.integers(0, 10**9)


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "prices.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_prices(path)

    return read


def test_a_price_by_hand():
    price = Price(prompt=2, cached=0.5, output=8)
    # 600 read, 400 from the cache, 100 written.
    assert price.of(Usage(1000, 400, 100)) == pytest.approx((1200 + 200 + 800) / 1e6)


def test_without_a_price_of_its_own_a_cached_token_costs_as_much_as_others(read):
    prices = read('{"strong": {"prompt": 1, "output": 4}, "weak": {"prompt": 1, "cached": 0}}')
    assert (prices.strong.cached, prices.weak.cached, prices.scorer.cached) == (1, 0, 0)


def test_a_trace_pays_for_every_part():
    usage = {"weak": Usage(100, 0, 10), "strong": Usage(50, 50, 5), "scorer": Usage(30, 10, 1)}
    money = Prices(Price(1, 1, 1), Price(10, 2, 20), Price(3, 0, 7)).of(
        Trace("q", "weak", 0, usage=usage)
    )
    assert money == pytest.approx((110 + 200 + 67) / 1e6)


def test_grades_and_what_is_read_ahead_have_the_strong_models_price():
    usage = {"weak": Usage(9, 0, 9), "strong": Usage(9, 0, 9), "scorer": Usage(600, 100, 7)}
    usage["warming"] = Usage(50, 20, 1)
    prices = Prices(Price(), Price(1, 0, 10), Price(1000, 1000, 1000))
    graded = Trace("q", "thr:0.5", 0, usage=usage, scorer="grade")
    assert prices.of(graded) == pytest.approx((9 + 90 + 500 + 70 + 30 + 10) / 1e6)
    assert hidden_strong_usage(graded) == Usage(650, 120, 8)
    scored = Trace("q", "thr:0.5", 0, usage=usage, scorer="trim-scorer")
    assert hidden_strong_usage(scored) == usage["warming"]
    assert payer("scorer", "trim-scorer") == payer("scorer", None) == "scorer"
    assert payer("weak", "grade") == "weak"


@given(st.builds(Price, prices, prices, prices), counts, counts, counts)
def test_money_is_never_negative_and_adds_up(price, uncached, cached, output):
    usage = Usage(uncached + cached, cached, output)
    assert price.of(usage) >= 0
    assert price.of(usage + usage) == pytest.approx(2 * price.of(usage))


def test_what_a_price_list_does_not_name_is_free(read):
    given_prices = read('{"strong": {"prompt": 1, "cached": 0.1, "output": 4}, "scorer": {}}')
    assert given_prices == Prices(Price(), Price(1, 0.1, 4), Price())
    assert read("{}") == Prices(Price(), Price(), Price())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "nonsense",
        "{",
        "null",
        "3",
        "[]",
        '["strong"]',
        '{"other": {}}',
        '{"strong": 4}',
        '{"strong": null}',
        '{"strong": [1, 2, 3]}',
        '{"strong": {"input": 1}}',
        b'{"strong": "\xff"}',
    ],
)
def test_another_shape_is_refused(read, content):
    with pytest.raises(InvalidInput, match=r"prices\.json: not a price list such as"):
        read(content)


@pytest.mark.parametrize(
    "value", ["-1", "-0.001", "NaN", "true", '"1"', "null", "[]", "{}", "-Infinity"]
)
def test_a_price_is_a_number_from_0_up(read, value):
    with pytest.raises(InvalidInput, match=r"prices\.json: weak\.cached must be a number"):
        read(f'{{"weak": {{"cached": {value}}}}}')


@pytest.mark.parametrize("value", ["Infinity", "1e999"])
def test_money_stays_a_number(read, value):
    """Without end is no price: nothing of it would be worth NaN, which JSON cannot say."""
    with pytest.raises(InvalidInput, match="must be a number"):
        read(f'{{"weak": {{"cached": {value}}}}}')


@settings(max_examples=50)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner)
    | st.dictionaries(st.sampled_from(("weak", "strong", "prompt", "output", "x")), inner),
))  # fmt: skip
def test_any_json_is_a_price_list_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        read_list = read_prices(path)
    except InvalidInput:
        return
    assert isinstance(read_list, Prices)


def test_an_unreadable_list_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(InvalidInput, match="cannot read the price list"):
            read_prices(path)


def test_prices_have_a_currency(read):
    assert read('{"strong": {"output": 4}, "currency": "EUR"}').currency == "EUR"
    assert read('{"strong": {"output": 4}}').currency == "USD"
    for wrong in ('"€"', '"eur"', "1", "null", '"EURO"'):
        with pytest.raises(InvalidInput, match="three capital letters, as in USD"):
            read(f'{{"currency": {wrong}}}')
