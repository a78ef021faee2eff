"""Keep the models of `models_in_the_wild.py` by name, each with its source and its data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

Batch = tuple[Any, Any]
# A model to initialize and diagnose, with the inputs and targets for `diagnose` (None: noise, no loss).
Part = tuple[keras.Model, Any, Any]


def whole(model: keras.Model, x: Any, y: Any) -> list[Part]:
    """Return the model itself, diagnosed with its own loss."""
    return [(model, x, y)]


@dataclass(frozen=True)
class Wild:
    """One model: how it is built and compiled, and the data that it trains on.

    Attributes:
        name: The name in the table.
        source: The paper or tutorial whose layers, initializers, optimizer and loss it has.
        build: Return a new compiled model. Its optimizer has the rate of the source.
        batch: Return one batch (x, y) from a random generator.
        measure: The loss or metric of training that the starts are compared by; smaller is better.
        in_nats: Whether the measure is a negative log-likelihood, which may be negative: starts then differ
            by a difference, otherwise by a ratio.
        remark: Why one start is ahead of the other, where that was looked into.
        parts: Return the models to initialize and diagnose, if the model is made of several.
    """

    name: str
    source: str
    build: Callable[[], keras.Model]
    batch: Callable[[np.random.Generator], Batch]
    measure: str = "loss"
    in_nats: bool = False
    remark: str = ""
    parts: Callable[[keras.Model, Any, Any], list[Part]] = whole


MODELS: dict[str, Wild] = {}


def wild(name: str, source: str, batch: Callable, **options: Any) -> Callable[[Callable], Callable]:
    """Register the decorated builder under a name."""

    def register(build: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
        MODELS[name] = Wild(name, source, build, batch, **options)
        return build

    return register
