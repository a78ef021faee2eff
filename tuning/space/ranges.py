"""Positive numbers to search: a few values, or a range on a log scale; and how a rate falls over a run."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import keras_tuner

from keras_initx import InitxError

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, searched on a log scale; not for a grid."""

    low: float
    high: float


Numbers = Sequence[float] | Range


def check_numbers(
    rates: Numbers | None, argument: str = "learning_rates", zero: bool = False
) -> Numbers | None:
    """`rates` if all are positive and a range is in order.

    Raises:
        InitxError: A rate that is not a positive number or stands there twice, a range that does not rise.
    """
    if rates is None:
        return None
    if not isinstance(rates, Range | Iterable):
        raise InitxError(
            argument, rates, "a list of positive numbers, or a Range of them", f"Pass [{rates}]."
        )
    values = (rates.low, rates.high) if isinstance(rates, Range) else tuple(rates)
    if zero and not isinstance(rates, Range):
        # Which is none.
        values = tuple(r for r in values if not isinstance(r, Real) or r != 0) or (1.0,)
    if not values or any(not isinstance(r, Real) or not 0 < r < float("inf") for r in values):
        raise InitxError(argument, rates, "positive numbers, or a Range of them")
    if isinstance(rates, Range) and rates.low >= rates.high:
        raise InitxError(argument, rates, "a Range whose low is below its high")
    if len(set(values)) < len(values):
        raise InitxError(argument, rates, "different numbers")
    return rates


def choose_number(hp: keras_tuner.HyperParameters, name: str, rates: Numbers) -> Any:
    """The value that `hp` chooses; None under a condition that does not hold."""
    if isinstance(rates, Range):
        return hp.Float(name, float(rates.low), float(rates.high), sampling="log")
    return hp.Choice(name, [float(r) for r in rates])
