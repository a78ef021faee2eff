"""Positive numbers as hyperparameters: a list of values, or a range on a log scale."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner

from keras_initx.errors import InitxError, is_number

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Range:
    """A range of numbers from `low` to `high`, searched on a log scale. A grid search cannot use it."""

    low: float
    high: float


Numbers = Sequence[float] | Range


def check_numbers(
    numbers: Numbers | None, argument: str = "learning_rates", allow_zero: bool = False
) -> Numbers | None:
    """Return `numbers` if they can be searched.

    Args:
        numbers: The values to choose among, a `Range`, or None.
        argument: The argument that errors name.
        allow_zero: Whether a list of values may contain 0.

    Raises:
        InitxError: A value is not a positive number or occurs twice, there is no value, or the range is
            empty.
    """
    if numbers is None:
        return None
    if not isinstance(numbers, Range | Iterable):
        allowed = "a list of positive numbers, or a Range of them"
        raise InitxError(argument, numbers, allowed, f"Pass [{numbers}].")
    values = (numbers.low, numbers.high) if isinstance(numbers, Range) else tuple(numbers)
    lowest = "numbers >= 0" if allow_zero else "positive numbers"
    zeros_ok = allow_zero and not isinstance(numbers, Range)
    if not values or not all(_is_positive(v) or (zeros_ok and is_number(v) and v == 0) for v in values):
        raise InitxError(argument, numbers, f"a list of {lowest}, or a Range of positive numbers")
    if isinstance(numbers, Range) and numbers.low >= numbers.high:
        raise InitxError(argument, numbers, "a Range whose low is below its high")
    if len(set(values)) < len(values):
        raise InitxError(argument, numbers, "a list of different numbers")
    return numbers


def _is_positive(value: float) -> bool:
    return is_number(value) and 0 < value < float("inf")


def choose_number(hp: keras_tuner.HyperParameters, name: str, numbers: Numbers) -> Any:
    """Declare a hyperparameter and return its value, or None if it is inactive under a condition."""
    if isinstance(numbers, Range):
        return hp.Float(name, float(numbers.low), float(numbers.high), sampling="log")
    return hp.Choice(name, [float(number) for number in numbers])


def check_counts(argument: str, counts: Sequence[int] | None) -> tuple[int, ...] | None:
    """Return different positive integers as a tuple; None stays None.

    Raises:
        InitxError: There is none, one is not a positive integer, or one occurs twice.
    """
    if counts is None:
        return None
    allowed = "a list of different integers >= 1"
    if not isinstance(counts, Iterable):
        raise InitxError(argument, counts, allowed, f"Pass [{counts}].")
    listed = tuple(counts)
    if not listed or len(set(listed)) < len(listed) or not all(_is_count(value) for value in listed):
        raise InitxError(argument, counts, allowed)
    return listed


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
