"""A plain KerasTuner tuner with an `OptunaOracle`, and spaces for it to search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from keras_initx.tuning import OptunaOracle

_STORAGES: dict[Path, optuna.storages.InMemoryStorage] = {}


class PlainTuner(keras_tuner.Tuner):
    """A user's tuner, which overrides only `run_trial`."""

    def __init__(self, oracle: OptunaOracle, folder: Path, score: Callable[[Any], Any], declare: Any = None):
        self.score, self.seen = score, []
        super().__init__(oracle, None, directory=str(folder), project_name="project")
        if declare is not None:
            hp = oracle.get_space()
            declare(hp)
            oracle.update_space(hp)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
        self.seen.append(dict(trial.hyperparameters.values))
        return self.score(trial.hyperparameters)


def run(
    folder: Path,
    score: Any,
    declare: Any = None,
    *,
    trials: int | None = 5,
    objective: Any = None,
    storage: Any = "memory",
    **kwargs: Any,
) -> PlainTuner:
    """Run a search; its study is in memory, one for each folder, unless `storage` is another one."""
    if storage == "memory":
        storage = _STORAGES.setdefault(folder, optuna.storages.InMemoryStorage())
    tuner = PlainTuner(OptunaOracle(objective, trials, storage=storage, **kwargs), folder, score, declare)
    tuner.oracle.verbose = 0
    tuner.search()
    return tuner


def numbers(hp: Any) -> None:
    hp.Float("x", -1.0, 1.0)
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("half", 0.0, 1.3, step=0.5)
    hp.Float("tenth", 0.0, 0.7, step=0.1)
    hp.Float("decade", 1e-3, 1.0, sampling="log", step=10)
    hp.Int("width", 3, 9)
    hp.Int("odd", 1, 10, step=4)
    hp.Int("power", 2, 40, sampling="log", step=2)
    hp.Int("log", 1, 100, sampling="log")
    hp.Choice("name", ["a", "b"])
    hp.Choice("number", [1, 2])
    hp.Boolean("flag")
    hp.Fixed("fixed", 7)


def a_range(hp: Any) -> None:
    hp.Float("x", -1.0, 1.0)


def a_number(hp: Any) -> float:
    return hp.get("x") ** 2


def discrete(hp: Any) -> None:
    hp.Choice("name", ["a", "b", "c"])
    hp.Boolean("flag")
    hp.Int("odd", 1, 6, step=4)


POINTS = 12


def conditional(hp: Any) -> None:
    hp.Choice("kind", ["wide", "deep"])
    with hp.conditional_scope("kind", ["wide"]):
        hp.Int("width", 10, 20)
    with hp.conditional_scope("kind", ["deep"]):
        hp.Int("depth", 1, 3)
        hp.Boolean("skip")
        with hp.conditional_scope("skip", [True]):
            hp.Float("gain", 0.0, 1.0)


def values_of(oracle: OptunaOracle) -> list[tuple[Any, ...]]:
    return [tuple(sorted(t.params.items())) for t in oracle.frozen_trials()]
