"""Money: a price for each model and kind of token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from trim.documents import parse_json
from trim.errors import InvalidInput
from trim.files import read_bytes
from trim.legacy import current_roles
from trim.types import GRADE, Trace, Usage

LARGEST_PRICE = 1e12
"""Of a million tokens: beyond it, sums of money would lose their cents."""


@dataclass(frozen=True)
class Price:
    """Money per million tokens: prompt, cached prompt, output."""

    prompt: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    def of(self, usage: Usage) -> float:
        uncached = usage.prompt_tokens - usage.cached_tokens
        total = uncached * self.prompt + usage.cached_tokens * self.cached
        return (total + usage.tokens * self.output) / 1e6


CURRENCY = "USD"
CODE = "[A-Z]{3}"
"""Pattern of a currency's code (ISO 4217)."""


@dataclass(frozen=True)
class Prices:
    """A price list.

    The defaults are an example, which applies on request only (`--prices example`): the strong
    model costs 20 times as much as the weak one, cached tokens a tenth of prompt tokens, output
    tokens four times as much.

    Attributes:
        intermediate: of the intermediate models, weakest first; those without a price cost as
            much as the strong one.
        currency: of all prices, three letters of ISO 4217; shown beside amounts of money.
    """

    weak: Price = Price(0.05, 0.005, 0.2)
    strong: Price = Price(1.0, 0.1, 4.0)
    scorer: Price = Price(0.05, 0.005, 0.2)
    intermediate: tuple[Price, ...] = ()
    currency: str = CURRENCY

    def of(self, trace: Trace) -> float:
        """The cost of a trace, including discarded drafts, scores and prefills."""
        return self.of_usage(trace.usage, trace.scorer)

    def of_usage(self, usage: Mapping[str, Usage], scorer: str | None = None) -> float:
        """The cost of tokens by role (`Trace.usage`)."""
        price = {"weak": self.weak, "scorer": self.scorer}
        price |= {f"intermediate-{n}": price for n, price in enumerate(self.intermediate, 1)}
        return sum(
            price.get(payer(role, scorer), self.strong).of(used) for role, used in usage.items()
        )


def price_of(kinds: Mapping[str, float]) -> Price:
    """A price; without one of their own, cached prompt tokens cost as much as others.

    Raises:
        TypeError: an unknown kind of token.
    """
    return Price(**{"cached": kinds.get("prompt", 0.0), **kinds})


def priced(
    lists: Mapping[str, Price], intermediate: Iterable[Price] = (), currency: str = CURRENCY
) -> Prices:
    """A price list in which `weak`, `strong` and `scorer` are free unless `lists` has them.

    Raises:
        TypeError: `lists` has an unknown role.
    """
    free = dict.fromkeys(("weak", "strong", "scorer"), FREE)
    return Prices(**{**free, **lists}, intermediate=tuple(intermediate), currency=currency)


EXAMPLE = "example"
"""Name of the example price list, in place of a file of prices."""
FREE = Price()


def payer(role: str, scorer: str | None) -> str:
    """The role whose price applies to the tokens of a role.

    That is the strong model for the grades of a `grade` scorer and for prefills (`warming`).

    Args:
        role: as in `Trace.usage`.
        scorer: name of the scorer, None without one; what follows a + is added to its scores.
    """
    graded = scorer is not None and scorer.partition("+")[0] == GRADE
    by_strong = role == "warming" or (role == "scorer" and graded)
    return "strong" if by_strong else role


def hidden_strong_usage(trace: Trace) -> Usage:
    """Tokens of the strong model that are not in C(q; pi): grades and prefills."""
    hidden = (
        used
        for role, used in trace.usage.items()
        if role != "strong" and payer(role, trace.scorer) == "strong"
    )
    return sum(hidden, Usage())


def read_prices(path: Path) -> Prices:
    """A price list from JSON: `{"strong": {"prompt": 1, "cached": 0.1, "output": 4}, …}`.

    `intermediate` (`middle` in 0.1) is a list with a price for each intermediate model. `weak`,
    `strong` and `scorer` are free unless the list has them. `currency` is USD by default.

    Raises:
        InvalidInput: the file is unreadable, has an unknown name, a price is not a number from
            0 up, or the currency is not three letters.
    """
    try:
        given = current_roles(parse_json(read_bytes(path), finite=False))
        intermediate = [price_of(kinds) for kinds in given.pop("intermediate", [])]
        currency = given.pop("currency", CURRENCY)
        lists = {role: price_of(kinds) for role, kinds in given.items()}
        prices = priced(lists, intermediate, currency)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot read the price list ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError) as error:
        example = '{"strong": {"prompt": 1, "cached": 0.1, "output": 4}}'
        raise InvalidInput(f"{path}: not a price list such as {example} ({error})") from error
    if not isinstance(currency, str) or not re.fullmatch(CODE, currency):
        raise InvalidInput(f"{path}: currency must be three capital letters, as in USD")
    lists |= {f"intermediate-{n}": price for n, price in enumerate(intermediate, 1)}
    for role, price in lists.items():
        for kind in fields(Price):
            value = getattr(price, kind.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= LARGEST_PRICE:
                raise InvalidInput(
                    f"{path}: {role}.{kind.name} must be a number from 0 to {LARGEST_PRICE:g}"
                )
    return prices
