"""Optuna's samplers by the names of `search(tuner=...)`."""

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import optuna

from keras_initx.errors import InitxError, unknown_name

SAMPLERS = ("tpe", "random", "grid", "gp", "cmaes")
# The packages that Optuna imports for a sampler. Optuna reports a missing one only after a trial has started.
_PACKAGES = {"gp": "torch", "cmaes": "cmaes"}
# What to use for names of methods that contain these words.
_INSTEAD = {
    "bayes": "Bayesian optimization is 'tpe' or 'gp'.",
    "gauss": "Gaussian processes are 'gp'.",
    "hyperband": "Hyperband is a pruner: pass pruner='hyperband'.",
    "evol": "The evolution strategy is 'cmaes'.",
}


def check_sampler(sampler: object) -> None:
    """Raise an `InitxError` for an unknown sampler, or one whose package is not installed."""
    if isinstance(sampler, optuna.samplers.BaseSampler | keras_tuner.Oracle):
        return
    if not isinstance(sampler, str):
        allowed = f"one of {', '.join(SAMPLERS)}, an Optuna sampler, or a KerasTuner oracle"
        remedy = "Pass an instance, not the class." if isinstance(sampler, type) else ""
        raise InitxError("tuner", sampler, allowed, remedy)
    if sampler not in SAMPLERS:
        remedy = next((text for word, text in _INSTEAD.items() if word in sampler.lower()), "")
        raise unknown_name("tuner", sampler, SAMPLERS, remedy)
    package = _PACKAGES.get(sampler)
    if package and importlib.util.find_spec(package) is None:
        others = ", ".join(name for name in SAMPLERS if name not in _PACKAGES)
        problem = f"`tuner` {sampler!r} needs the package {package}, which is not installed"
        remedy = f"Run pip install {package}, or use one of {others}."
        raise InitxError("tuner", sampler, f"one of {others}", remedy, problem)


def make_sampler(name: str, seed: int, grid: Mapping[str, Sequence[Any]] | None = None) -> Any:
    """Return the sampler with the given name.

    No sampler takes the order of a `Choice` for a distance: "gp" treats its values as unordered, and
    "cmaes", which samples only numbers, leaves them to "tpe".

    Args:
        name: One of `SAMPLERS`.
        seed: The sampler's seed.
        grid: The values of each parameter, for "grid".

    Example:

    >>> type(make_sampler("cmaes", seed=1)).__name__
    'CmaEsSampler'
    """
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "grid":
        return optuna.samplers.GridSampler(dict(grid or {}), seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed, warn_independent_sampling=False)
    with warnings.catch_warnings():
        # `constant_liar` is experimental in Optuna 4.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Without it, TPE ignores the running trials of other processes and proposes similar values.
        tpe = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(
            seed=seed, independent_sampler=tpe, warn_independent_sampling=False
        )
    return tpe
