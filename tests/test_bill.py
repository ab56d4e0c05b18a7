"""The sums of a long run: what it has paid, and how far it is."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trim.costs import Price, Prices
from trim.errors import InvalidInput
from trim.evaluation.bill import NAME, SAVE_INTERVAL, Bill
from trim.evaluation.progress import ALONE, RunProgress, Tally
from trim.models.model import Completion, Ending
from trim.types import Finish, Trace, Usage

counts = st.integers(0, 10**6)
usages = st.builds(Usage, counts, counts, counts, st.just(1))
requests = st.lists(
    st.tuples(st.sampled_from(("weak", "strong", "scorer", "intermediate-1")), usages)
)
PRICES = Prices(weak=Price(1, 0.5, 2), strong=Price(10, 5, 20))


def put(bill, role, used):
    bill.add(role, Completion("", Ending.STEP, used.tokens, used.prompt_tokens, used.cached_tokens))


def summed(requests):
    sums = {}
    for role, used in requests:
        sums[role] = sums.get(role, Usage()) + used
    return sums


@given(requests, st.lists(st.integers(0, 30), max_size=4), st.booleans())
def test_a_bill_is_the_sum_of_its_requests_over_all_sessions(requests, cuts, killed):
    """Saved at their ends, nothing is missing; killed, fewer than `SAVE_INTERVAL` of each."""
    ends = sorted({min(cut, len(requests)) for cut in cuts} | {len(requests)})
    lost = []
    with TemporaryDirectory() as name:
        for begin, end in zip([0, *ends], ends, strict=False):
            bill = Bill(PRICES, Path(name))
            bill.recover()
            assert bill.usage == summed(r for n, r in enumerate(requests[:begin]) if n not in lost)
            for role, used in requests[begin:end]:
                put(bill, role, used)
            if killed:
                lost += range(end - (end - begin) % SAVE_INTERVAL, end)
            else:
                bill.save()
        bill = Bill(PRICES, Path(name))
        bill.recover()
        assert bill.usage == summed(r for n, r in enumerate(requests) if n not in lost)
        assert killed or not lost


@given(requests, requests)
def test_money_is_what_each_request_costs(here, elsewhere):
    bill = Bill(PRICES)
    for role, used in here:
        put(bill, role, used)
    for role, used in elsewhere:
        other = Bill(PRICES)
        put(other, role, used)
        bill.merge(json.loads(json.dumps(other.drain())))
        assert not other.usage
    each = [PRICES.of_usage({role: used}) for role, used in [*here, *elsewhere]]
    assert bill.money == pytest.approx(sum(each))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | counts | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text() | st.sampled_from(("weak", "tokens")), inner)
        ),
    )
)
@example({"weak": {"tokens": 3}})
@example({"weak": {"tokens": -1}})
@example({"weak": {"tokens": 1.5}})
@example({"weak": {"tokens": "many"}})
@example({"weak": {"tokens": 3}, "strong": None})
def test_a_damaged_bill_is_refused_and_kept_and_a_whole_one_goes_on(record):
    """A bill that began at 0 would let a run spend its cost limit a second time."""
    with TemporaryDirectory() as name:
        content = json.dumps(record)
        (Path(name) / NAME).write_text(content)
        bill = Bill(PRICES, Path(name))
        try:
            bill.recover()
        except InvalidInput as error:
            assert "damaged" in str(error) and "\n" not in str(error)
            assert (Path(name) / NAME).read_text() == content
            return
        put(bill, "weak", Usage(1, 0, 1))
        assert bill.money > 0
        bill.save()
        again = Bill(PRICES, Path(name))
        again.recover()
        assert again.usage == bill.usage


@given(requests.filter(bool), st.data())
def test_a_bill_that_was_cut_at_any_byte_is_whole_or_refused(requests, data):
    with TemporaryDirectory() as name:
        bill = Bill(PRICES, Path(name))
        for role, used in requests:
            put(bill, role, used)
        bill.save()
        content = bill.path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        bill.path.write_bytes(content[:cut])
        try:
            bill.recover()
        except InvalidInput:
            assert bill.path.read_bytes() == content[:cut]
        else:
            assert bill.usage == summed(requests)


POLICIES = ("weak", "strong", "thr:0.3", "random:0.5")
problems = st.lists(
    st.fixed_dictionaries(
        dict.fromkeys(
            POLICIES, st.tuples(st.none() | st.booleans(), st.integers(0, 99), st.booleans())
        )
    ),
    max_size=8,
)


def trace_of(policy, correct, strong, failed):
    usage = {"strong": Usage(0, 0, strong)}
    finish = Finish.FAILED if failed else Finish.ANSWER
    return Trace("q", policy, 0, (), finish=finish, usage=usage, correct=correct)


@given(problems, st.lists(st.sampled_from(POLICIES), unique=True, min_size=1), st.randoms())
def test_a_standing_is_that_of_all_traces_in_any_order(problems, policies, random):
    traces = [[trace_of(name, *each[name]) for name in policies] for each in problems]
    tally = Tally(policies)
    assert tally.progress(0) == RunProgress(0)
    for group in random.sample(traces, len(traces)):
        tally.add(group)
    routed = [name for name in policies if name not in ALONE] or policies
    columns = {name: [each[name] for each in problems] for name in routed}
    accuracies = [sum(map(bool, [c for c, _, _ in column])) / len(column)
                  for column in columns.values() if column]  # fmt: skip
    alone = sum(each["strong"][1] for each in problems) if "strong" in policies else 0
    shares = [sum(strong for _, strong, _ in column) / alone for column in columns.values()
              if alone]  # fmt: skip
    bill = Bill(PRICES)
    bill.add_step("strong", Completion("", Ending.STEP, 75_000, 0))
    assert tally.progress(len(problems), bill) == RunProgress(
        len(problems),
        (min(accuracies), max(accuracies)) if accuracies else None,
        (min(shares), max(shares)) if shares else None,
        1.5,
        sum(failed for each in problems for _, _, failed in map(each.get, policies)),
        steps=1,
        tokens=75_000,
    )
