"""Money: a price for each model and kind of token."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

from trim.errors import InvalidInput
from trim.scorers.grade import GradeScorer
from trim.trace import Trace, Usage


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
    """A price list. The defaults are an example: strong costs 20 times what weak does,
    cached tokens a tenth of read ones, output four times.

    Attributes:
        middle: of the models between weak and strong, in their order; those that it has no
            price for cost what the strong one does.
    """

    weak: Price = Price(0.05, 0.005, 0.2)
    strong: Price = Price(1.0, 0.1, 4.0)
    scorer: Price = Price(0.05, 0.005, 0.2)
    middle: tuple[Price, ...] = ()

    def of(self, trace: Trace) -> float:
        """What a trace cost, discarded drafts and scoring included.

        Grades are written by the strong model, and what is read in advance is read by it, so
        they have its price.
        """
        price = {"weak": self.weak, "scorer": self.scorer}
        price |= {f"middle-{level}": price for level, price in enumerate(self.middle, 1)}
        if trace.scorer == GradeScorer.name:
            price["scorer"] = self.strong
        return sum(price.get(role, self.strong).of(used) for role, used in trace.usage.items())


def read_prices(path: Path) -> Prices:
    """A price list from JSON: `{"strong": {"prompt": 1, "cached": 0.1, "output": 4}, …}`.

    `middle` is a list of prices, one for each model between.

    Raises:
        InvalidInput: unreadable, an unknown name, or a price that is no number from 0 up.
    """
    try:
        given = json.loads(path.read_text())
        middle = [Price(**kinds) for kinds in given.pop("middle", [])]
        lists = {role: Price(**kinds) for role, kinds in given.items()}
        prices = Prices(**lists, middle=tuple(middle))
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
