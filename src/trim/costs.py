"""Money: a price for each model and kind of token."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from trim.errors import InvalidInput
from trim.types import GRADE, Trace, Usage


@dataclass(frozen=True)
class Price:
    """Money for a million tokens of each kind: read, read from a cache, written."""

    prompt: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    def of(self, usage: Usage) -> float:
        uncached = usage.prompt_tokens - usage.cached_tokens
        total = uncached * self.prompt + usage.cached_tokens * self.cached
        return (total + usage.tokens * self.output) / 1e6


@dataclass(frozen=True)
class Prices:
    """A price list. The defaults are an example: the strong model costs 20 times what the weak
    one does, cached tokens a tenth of prompt tokens, output tokens four times as much.

    Nothing is billed by the example unless it is asked for (`--prices example`).

    Attributes:
        middle: of the models between weak and strong, in their order; those that it has no
            price for cost what the strong one does.
    """

    weak: Price = Price(0.05, 0.005, 0.2)
    strong: Price = Price(1.0, 0.1, 4.0)
    scorer: Price = Price(0.05, 0.005, 0.2)
    middle: tuple[Price, ...] = ()

    def of(self, trace: Trace) -> float:
        """What a trace cost, discarded drafts, scores and what was read in advance included."""
        return self.of_usage(trace.usage, trace.scorer)

    def of_usage(self, usage: Mapping[str, Usage], scorer: str | None = None) -> float:
        """What tokens cost, by role (`Trace.usage`)."""
        price = {"weak": self.weak, "scorer": self.scorer}
        price |= {f"middle-{level}": price for level, price in enumerate(self.middle, 1)}
        return sum(
            price.get(payer(role, scorer), self.strong).of(used) for role, used in usage.items()
        )


def priced(lists: Mapping[str, Price], middle: Iterable[Price] = ()) -> Prices:
    """A price list in which `weak`, `strong` and `scorer` are free where `lists` lacks them.

    Raises:
        TypeError: a role that there is not.
    """
    free = dict.fromkeys(("weak", "strong", "scorer"), FREE)
    return Prices(**{**free, **lists}, middle=tuple(middle))


EXAMPLE = "example"
"""Name of the example price list, where a file of prices may be named."""
FREE = Price()


def payer(role: str, scorer: str | None) -> str:
    """The role whose price the tokens of a role have.

    The strong model writes the grades of a `grade` scorer and reads in advance (`warming`).

    Args:
        role: as in `Trace.usage`.
        scorer: name of the scorer, None without one.
    """
    by_strong = role == "warming" or (role == "scorer" and scorer == GRADE)
    return "strong" if by_strong else role


def hidden_strong_usage(trace: Trace) -> Usage:
    """Tokens of the strong model that are not in C(q; pi): grades, and what it read in advance."""
    hidden = (
        used
        for role, used in trace.usage.items()
        if role != "strong" and payer(role, trace.scorer) == "strong"
    )
    return sum(hidden, Usage())


def read_prices(path: Path) -> Prices:
    """A price list from JSON: `{"strong": {"prompt": 1, "cached": 0.1, "output": 4}, …}`.

    `middle` is a list of prices, one for each model between. `weak`, `strong` and `scorer` are
    free where the list does not name them.

    Raises:
        InvalidInput: unreadable, an unknown name, or a price that is no number from 0 up.
    """
    try:
        given = json.loads(path.read_text())
        middle = [Price(**kinds) for kinds in given.pop("middle", [])]
        lists = {role: Price(**kinds) for role, kinds in given.items()}
        prices = priced(lists, middle)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot read the price list ({error.strerror})") from error
    except (ValueError, TypeError, AttributeError) as error:
        example = '{"strong": {"prompt": 1, "cached": 0.1, "output": 4}}'
        raise InvalidInput(f"{path}: not a price list such as {example} ({error})") from error
    lists |= {f"middle-{level}": price for level, price in enumerate(middle, 1)}
    for role, price in lists.items():
        for kind in fields(Price):
            value = getattr(price, kind.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value < math.inf:
                raise InvalidInput(f"{path}: {role}.{kind.name} must be a number from 0 up")
    return prices
