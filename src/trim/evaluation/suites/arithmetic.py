"""Arithmetic operations, which the steps of generated problems carry out."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

LARGEST = 99
MOST_DIGITS = 18
"""Of a number in a model's step that is read as one."""
"""Largest value in a solution; the shipped models cannot handle longer numbers."""


@dataclass(frozen=True)
class Operation:
    """`value symbol operand`; `wraps` keeps the last two digits of the result."""

    symbol: str
    operand: int
    wraps: bool = False

    def apply(self, value: int) -> int:
        result = self.full_result(value)
        return result % (LARGEST + 1) if self.wraps else result

    def is_possible(self, value: int) -> bool:
        """Whether a division has no remainder and the result, unless it wraps, is in range."""
        if self.symbol == "/" and value % self.operand:
            return False
        return 0 <= value <= LARGEST and (self.wraps or 0 <= self.full_result(value) <= LARGEST)

    def full_result(self, value: int) -> int:
        match self.symbol:
            case "+":
                return value + self.operand
            case "-":
                return value - self.operand
            case "*":
                return value * self.operand
            case "/":
                return value // self.operand
            case _:
                raise ValueError(f"unknown operation {self.symbol!r}")

    def equation(self, value: int) -> str:
        """The operation on `value` as text: `37 + 25 = 62`."""
        text = f"{value} {self.symbol} {self.operand} = {self.full_result(value)}"
        return f"{text}, keep {self.apply(value)}" if self.wraps else text


def routine_operation(random: Random, value: int) -> Operation:
    """An easy operation: a small sum or difference, a doubling, a halving."""
    choices = []
    if value < LARGEST:
        choices.append(Operation("+", random.randint(1, min(9, LARGEST - value))))
    if value > 1:
        choices.append(Operation("-", random.randint(1, min(9, value - 1))))
    if 1 < value <= LARGEST // 2:
        choices.append(Operation("*", 2))
    if value > 2 and value % 2 == 0:
        choices.append(Operation("/", 2))
    return random.choice(choices)


def critical_operation(random: Random, value: int) -> Operation:
    """An operation that a small model finds hard: carries, multiplication, division."""
    choices = []
    if value <= LARGEST - 11:
        choices.append(Operation("+", random.randint(11, LARGEST - value)))
    if value >= 13:
        choices.append(Operation("-", random.randint(11, value - 2)))
    factors = [k for k in range(3, 10) if value >= 2 and value * k <= LARGEST]
    if factors:
        choices += [Operation("*", random.choice(factors))] * 2
    divisors = [k for k in range(3, 10) if value % k == 0 and value // k >= 2]
    if divisors:
        choices += [Operation("/", random.choice(divisors))] * 2
    return random.choice(choices) if choices else routine_operation(random, value)


def wrapping_operation(random: Random, value: int) -> Operation:
    """A sum or product beyond two digits, of which the last two digits are kept."""
    candidates = [Operation("+", random.randint(11, 99), True)]
    candidates += [Operation("*", random.randint(3, 9), True)]
    candidates = [o for o in candidates if o.full_result(value) > LARGEST and o.apply(value) > 1]
    return random.choice(candidates) if candidates else critical_operation(random, value)
