"""Searches that KerasTuner runs, without models."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner

oracles = keras_tuner.oracles


ORACLES: dict[str, Callable[[], keras_tuner.Oracle]] = {
    "random": lambda: oracles.RandomSearchOracle("val_accuracy", max_trials=8, seed=1),
    "bayesian": lambda: oracles.BayesianOptimizationOracle("val_accuracy", max_trials=8, seed=1),
    "hyperband": lambda: oracles.HyperbandOracle("val_accuracy", max_epochs=4, seed=1),
    "grid": lambda: oracles.GridSearchOracle("val_accuracy", max_trials=8, seed=1),
}


def space(hp: keras_tuner.HyperParameters) -> None:
    kind = hp.Choice("kind", ["deep", "wide"])
    hp.Int("units", 2, 11, step=3)
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("dropout", 0, 0.45, step=0.1)
    hp.Int("width", 4, 64, step=2, sampling="log")
    hp.Boolean("bias")
    hp.Fixed("batch", 16)
    with hp.conditional_scope("kind", ["deep"]):
        if kind == "deep":
            hp.Int("depth", 1, 3)


class Tuner(keras_tuner.Tuner):
    """A search without models: the third trial raises, the fifth scores NaN, the last may end the search."""

    end: type[BaseException] | None = None

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        values = trial.hyperparameters
        space(values)
        number = int(trial.trial_id)
        if number == 2:
            raise ValueError("no such layer")
        if number == 7 and self.end:
            raise self.end
        score = float("nan") if number == 4 else values.get("units") + values.get("dropout")
        return {"val_accuracy": score, "accuracy": 2 * score, "loss": 1.0}


def run(folder: Path, name: str = "random", tuner: type[keras_tuner.Tuner] = Tuner) -> keras_tuner.Tuner:
    search = tuner(ORACLES[name](), space, directory=str(folder), project_name=name)
    with warnings.catch_warnings():
        # KerasTuner's own warning about the trial that scores NaN.
        warnings.filterwarnings("ignore", "All-NaN axis", RuntimeWarning)
        search.search(verbose=0)
    return search


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}
