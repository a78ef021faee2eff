"""Convert KerasTuner's hyperparameters to Optuna's."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from keras_initx.errors import InitxError


def suggest(trial: Any, hp: Any) -> Any:
    """Return the value that an Optuna trial suggests for a KerasTuner hyperparameter."""
    if isinstance(hp, hp_types.Fixed):
        return hp.value
    if isinstance(hp, hp_types.Boolean):
        return trial.suggest_categorical(hp.name, [False, True])
    if isinstance(hp, hp_types.Choice):
        return trial.suggest_categorical(hp.name, list(hp.values))
    log = hp.sampling in ("log", "reverse_log")
    if log and hp.step is not None:
        # On a log scale the step is a factor, which Optuna does not support.
        return trial.suggest_categorical(hp.name, _values(hp))
    high = hp.max_value if hp.step is None else _last_step(hp)
    if isinstance(hp, hp_types.Int):
        return trial.suggest_int(hp.name, hp.min_value, high, step=hp.step or 1, log=log)
    return trial.suggest_float(hp.name, hp.min_value, high, step=hp.step, log=log)


def check_known(hyperparameters: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> None:
    """Raise an `InitxError` unless the search space contains the values of a candidate."""
    if not isinstance(values, Mapping):
        allowed = "a list of dictionaries with values by the names of hyperparameters"
        raise InitxError("enqueue", values, allowed)
    for name, value in values.items():
        declared = [hp for hp in hyperparameters.space if hp.name == name]
        if not declared:
            names = ", ".join(dict.fromkeys(hp.name for hp in hyperparameters.space))
            problem = f"`enqueue` has {name!r}, which is not a hyperparameter of this search"
            remedy = f"Hyperparameters: {names}."
            raise InitxError("enqueue", name, f"one of the hyperparameters {names}", remedy, problem)
        if not any(_contains(hp, value) for hp in declared):
            allowed = _allowed(declared[0])
            problem = f"`enqueue` must give {name!r} {allowed}, got {value!r}"
            raise InitxError("enqueue", value, allowed, problem=problem)


def _contains(hp: Any, value: Any) -> bool:
    if isinstance(hp, hp_types.Boolean):
        return isinstance(value, bool)
    if isinstance(hp, hp_types.Fixed):
        return bool(value == hp.value)
    if isinstance(hp, hp_types.Choice):
        return value in hp.values
    return isinstance(value, int | float) and hp.min_value <= value <= hp.max_value


def _allowed(hp: Any) -> str:
    if isinstance(hp, hp_types.Float | hp_types.Int):
        return f"a value from {hp.min_value} to {hp.max_value}"
    return f"one of {', '.join(repr(value) for value in getattr(hp, 'values', [hp.default]))}"


def _values(hp: Any) -> list[Any]:
    """Return the values of a discrete hyperparameter; KerasTuner lists integers with a factor as floats."""
    return [round(v) for v in hp.values] if isinstance(hp, hp_types.Int) else list(hp.values)


def _last_step(hp: Any) -> Any:
    """Return the last value of a range with a step, since Optuna warns if the upper limit is not one."""
    low, high, step = (Decimal(str(value)) for value in (hp.min_value, hp.max_value, hp.step))
    return type(hp.max_value)(low + (high - low) // step * step)


def grid_of(hyperparameters: keras_tuner.HyperParameters) -> dict[str, list[Any]]:
    """Return the values of every hyperparameter in a search space.

    Raises:
        InitxError: A hyperparameter is a continuous range, or depends on a condition.
    """
    grid: dict[str, list[Any]] = {}
    for hp in hyperparameters.space:
        if hp.conditions:
            problem = f"`tuner='grid'` cannot search {hp.name!r}, which depends on another hyperparameter"
            raise InitxError("tuner", "grid", "'random' or 'tpe'", "Use 'random' or 'tpe'.", problem)
        if isinstance(hp, hp_types.Fixed):
            continue
        if isinstance(hp, hp_types.Float) and hp.step is None:
            problem = f"`tuner='grid'` cannot search {hp.name!r}, which is a continuous range"
            remedy = f"Pass a list of values for {hp.name}, or use 'random' or 'tpe'."
            raise InitxError("tuner", "grid", "'random' or 'tpe'", remedy, problem)
        grid[hp.name] = _values(hp)
    return grid


def grid_size(hyperparameters: keras_tuner.HyperParameters) -> int:
    """Return the number of points in the grid."""
    return math.prod(len(values) for values in grid_of(hyperparameters).values())
