"""A small task, small searches and an observer, shared by the tests of the tuning package."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest
from keras_initx.tuning import Dataset, Execution, Results, SearchResult, SearchSpace, Stopping, search

Pair = tuple[np.ndarray, np.ndarray]
RATES = (1e-3, 3e-3)


@pytest.fixture(scope="session")
def pairs() -> tuple[Pair, Pair]:
    """Return training and validation data of two classes that a line separates."""
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


def grouped_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of `search` with those that stand for fields of its groups put into the groups."""
    options = dict(options)
    for argument, group in (("stopping", Stopping), ("execution", Execution), ("results", Results)):
        fields = {f.name: options.pop(f.name) for f in dataclasses.fields(group) if f.name in options}
        value = options.get(argument)
        if group is Results and isinstance(value, str | Path):
            fields["folder"], value = options.pop(argument), None
        if fields and value is None:
            options[argument] = group(**fields)
    return options


def run_search(folder: Path, model: Any, data: Any, images: bool = False, **options: Any) -> SearchResult:
    """Run a random search of two trials, two seeds and two epochs without XLA, unless options differ.

    Args:
        folder: Where to put results/ and logs/.
        model: As in `search`.
        data: Pairs for training, validation and, if there is a third, testing; or a `Dataset`.
        options: As in `search`; the fields of its groups of options may stand among them.
        images: Whether to draw the images of the dashboards, which take a fifth of the time of a search.
    """
    defaults: dict[str, Any] = {
        "tuner": "random",
        "trials": 2,
        "epochs": 2,
        "seeds": 2,
        "batch_size": 16,
        "results": folder / "results",
        "logs": folder / "logs",
        "jit_compile": False,
        "verbose": 0,
    }
    if data is not None and not isinstance(data, Dataset):
        names = ("validation_data", "test_data")
        defaults |= {"x": data[0][0], "y": data[0][1], **dict(zip(names, data[1:], strict=False))}
    else:
        defaults["x"] = data
    options = {**defaults, **options}
    if options["verbose"] is None:
        # As if it had not been passed.
        del options["verbose"]
    if "space" not in options:
        fields = {f.name for f in dataclasses.fields(SearchSpace)} & options.keys()
        options["space"] = SearchSpace(**{"learning_rates": RATES, **{n: options.pop(n) for n in fields}})
    options = grouped_options(options)
    without = mock.patch("keras_initx.tuning.dashboards.observer._images", return_value={})
    with nullcontext() if images else without:
        return search(model, **options)


@pytest.fixture
def quick(
    tmp_path: Path, pairs: tuple[Pair, Pair], small_model: Callable[..., keras.Model]
) -> Callable[..., SearchResult]:
    """Run a small search of `small_model` in `tmp_path`, as `run_search`; every option can be replaced."""

    def run(model: Any = small_model, data: Any = pairs, **options: Any) -> SearchResult:
        if model is small_model:
            # Without arguments, which a search would take for hyperparameters.
            model = lambda: small_model()  # noqa: E731
        return run_search(tmp_path, model, data, **options)

    return run


@pytest.fixture(scope="session")
def random_search(
    tmp_path_factory: pytest.TempPathFactory, pairs: Any, small_model: Callable[..., keras.Model]
) -> SearchResult:
    """A finished random search of three trials, for tests that only read it."""
    return run_search(tmp_path_factory.mktemp("random"), lambda: small_model(), pairs, trials=3, seeds=[4, 9])


@pytest.fixture(scope="session")
def screened_search(
    tmp_path_factory: pytest.TempPathFactory, pairs: Any, small_model: Callable[..., keras.Model]
) -> SearchResult:
    """A finished grid search with one trained and one screened trial, for tests that only read it."""
    folder = tmp_path_factory.mktemp("screened")
    options = {"initializers": ["zeros", "auto"], "learning_rates": [0.1], "tuner": "grid", "trials": None}
    return run_search(folder, lambda: small_model(), pairs, images=True, **options)


class Recorder:
    """An observer that records its calls, and raises `error` after the given number of seeds."""

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
