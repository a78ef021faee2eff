"""A small task and a small search, shared by the tests of the tuner."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning import search

Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def pairs() -> tuple[Pair, Pair]:
    """Training and validation data of two classes that a line divides."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(72, 4)).astype("float32")
    y = (x.sum(axis=1) > 0).astype("int32")
    return (x[:48], y[:48]), (x[48:], y[48:])


@pytest.fixture(scope="session")
def small_model() -> Callable[..., keras.Model]:
    def build(units: int = 4, rate: float = 0.05) -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(units, activation="tanh"),
                keras.layers.Dense(2, activation="softmax"),
            ]
        )
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build


@pytest.fixture
def quick(
    tmp_path: Path, pairs: tuple[Pair, Pair], small_model: Callable[..., keras.Model]
) -> Callable[..., Any]:
    """`search` of two trials, two seeds and two epochs, without XLA; any option can be given."""

    def run(model: Any = small_model, data: Any = pairs, **options: Any) -> Any:
        if model is small_model:
            model = lambda: small_model()  # noqa: E731 - without the arguments, which are no hyperparameters
        defaults: dict[str, Any] = {
            "tuner": "random",
            "trials": 2,
            "epochs": 2,
            "seeds": 2,
            "batch_size": 16,
            "results": tmp_path / "results",
            "logs": tmp_path / "logs",
            "jit_compile": False,
            "quiet": True,
        }
        return search(model, data, **{**defaults, **options})

    return run


class Recorder:
    """An observer that remembers, and raises `error` after so many seeds."""

    def __init__(self, after: int = 0, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.seeds: list[tuple[str, int]] = []
        self.begun: list[tuple[str, list[int]]] = []
        self.epochs = self.skipped = 0
        self.ended: list[str] = []
        self._after, self._error = after, error

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        self.begun.append((trial.trial_id, list(seeds)))

    def on_epoch_end(self, epochs: int) -> None:
        self.epochs += 1

    def on_seed_end(self, trial: Any, seed: int, record: Any, skipped_epochs: int) -> None:
        self.seeds.append((trial.trial_id, seed))
        self.skipped += skipped_epochs
        if len(self.seeds) == self._after:
            raise self._error

    def on_trial_end(self, trial: Any, status: str) -> None:
        self.ended.append(status)


@pytest.fixture(scope="session")
def recorder() -> type[Recorder]:
    return Recorder
