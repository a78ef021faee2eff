"""Small tuners, and a linear model whose learning rate can be far too large."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras_initx.tuning import InitializerTuner, SearchSpace


def make(
    folder: Path, model: Any, pairs: Any, *, trials: int = 2, objective: Any = "val_accuracy", **options: Any
):
    fit = {name: options.pop(name) for name in ("epochs", "batch_size") if name in options}
    if len(pairs) > 2:
        options["test_data"] = pairs[2]
    space = SearchSpace(["glorot_uniform", "auto"], [0.01, 0.05])
    defaults: dict[str, Any] = {
        "seeds": (0, 1, 2),
        "jit_compile": False,
        "space": space,
        "sampler": "random",
        "seed": 0,
    }
    tuner = InitializerTuner(
        model, objective, trials, **{**defaults, **options}, directory=str(folder), project_name="p"
    )
    tuner.oracle.verbose = 0
    arguments = {"epochs": 3, "batch_size": 16, "validation_data": pairs[1], **fit}
    # The data of the search, so that a test can start it without repeating them.
    tuner.run = lambda: tuner.search(*pairs[0], **arguments)  # type: ignore[attr-defined]
    return tuner


def lines(folder: Path, rates: list[float], *, objective: Any = "val_loss", trials: int = 1, **options: Any):
    """Return a tuner of a linear model, whose learning rate can be far too large."""
    space = SearchSpace(["glorot_uniform"], rates)
    return make(
        folder,
        line(0.0),
        line_data(),
        objective=objective,
        trials=trials,
        space=space,
        sampler="grid",
        **options,
    )


def line(rate: float) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(rate), "mse")
        return model

    return build


def line_data() -> tuple[Any, Any]:
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    return (x[:48], y[:48]), (x[48:], y[48:])
