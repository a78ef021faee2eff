"""Positive numbers to search: a few values, or a range on a log scale; and how a rate falls over a run."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import keras
import keras_tuner

from keras_initx import InitxError

SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, searched on a log scale; not for a grid."""

    low: float
    high: float


Rates = Sequence[float] | Range


def check_rates(rates: Rates | None, argument: str = "learning_rates", zero: bool = False) -> Rates | None:
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


def choose(hp: keras_tuner.HyperParameters, name: str, rates: Rates) -> Any:
    """The value that `hp` chooses; None under a condition that does not hold."""
    if isinstance(rates, Range):
        return hp.Float(name, float(rates.low), float(rates.high), sampling="log")
    return hp.Choice(name, [float(r) for r in rates])


class Schedule(keras.callbacks.Callback):
    """Lowers the learning rate epoch by epoch, which no trace has to know of.

    rate(e) = rate (1 - e / E), "linear", or rate (1 + cos(pi e / E)) / 2, "cosine": e is the epoch from 0,
    E how many there are at most.

    Args:
        name: One of `SCHEDULES`.
        epochs: E.
    """

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__()
        self._name, self._epochs = name, epochs

    def on_train_begin(self, logs: object = None) -> None:
        """Reads the rate that it begins with."""
        self._first = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Sets the rate of the epoch."""
        share = epoch / self._epochs
        factors = {"constant": 1.0, "linear": 1 - share, "cosine": (1 + math.cos(math.pi * share)) / 2}
        self.model.optimizer.learning_rate = self._first * factors[self._name]
