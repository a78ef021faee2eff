"""Optuna's samplers by the names of `search(tuner=...)`."""

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import optuna

from keras_initx.errors import InitxError, unknown_name

SAMPLERS = ("tpe", "random", "grid", "gp", "cmaes")
# What Optuna imports for a sampler, and asks for by name only once a trial is begun.
_NEEDS = {"gp": "torch", "cmaes": "cmaes"}


def check_sampler(name: object) -> None:
    """Raises an `InitxError` for an unknown sampler, or one whose package is not installed."""
    if isinstance(name, optuna.samplers.BaseSampler | keras_tuner.Oracle):
        return
    if not isinstance(name, str):
        allowed = f"one of {', '.join(SAMPLERS)}, an Optuna sampler, or a KerasTuner oracle"
        raise InitxError("tuner", name, allowed, "Make an object of a class.")
    if name not in SAMPLERS:
        raise unknown_name("tuner", name, SAMPLERS)
    package = _NEEDS.get(name)
    if package and importlib.util.find_spec(package) is None:
        others = ", ".join(s for s in SAMPLERS if s not in _NEEDS)
        raise InitxError("tuner", name, others, f"Or install what it needs: pip install {package}")


def make_sampler(name: str, seed: int, grid: Mapping[str, Sequence[Any]] | None = None) -> Any:
    """The sampler of a name.

    None of them takes the order of a `Choice` for a distance: to "gp" its values are unordered, and
    "cmaes", which knows numbers only, leaves them to "tpe".

    Args:
        name: One of `SAMPLERS`.
        seed: Its seed.
        grid: For "grid", the values of each parameter.

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
        # Optuna 4 calls it experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # By default Optuna 4 does not see what other processes are about to try, and proposes its like.
        tpe = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(
            seed=seed, independent_sampler=tpe, warn_independent_sampling=False
        )
    return tpe
