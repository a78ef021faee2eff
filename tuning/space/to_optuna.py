"""KerasTuner's hyperparameters in Optuna's words."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types

from keras_initx.errors import InitxError


def suggest(trial: Any, hp: Any) -> Any:
    """The value of one KerasTuner hyperparameter, asked of an Optuna trial."""
    if isinstance(hp, hp_types.Fixed):
        return hp.value
    if isinstance(hp, hp_types.Boolean):
        return trial.suggest_categorical(hp.name, [False, True])
    if isinstance(hp, hp_types.Choice):
        return trial.suggest_categorical(hp.name, list(hp.values))
    log = hp.sampling in ("log", "reverse_log")
    if log and hp.step is not None:
        # There the step is a factor, which Optuna does not know.
        return trial.suggest_categorical(hp.name, _values(hp))
    high = hp.max_value if hp.step is None else _last_step(hp)
    if isinstance(hp, hp_types.Int):
        return trial.suggest_int(hp.name, hp.min_value, high, step=hp.step or 1, log=log)
    return trial.suggest_float(hp.name, hp.min_value, high, step=hp.step, log=log)


def check_known(hyperparameters: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> None:
    """Raises an `InitxError` for a candidate that the space does not have."""
    if not isinstance(values, Mapping):
        raise InitxError("enqueue", values, "a list of dictionaries: values by the names of hyperparameters")
    for name, value in values.items():
        known = [hp for hp in hyperparameters.space if hp.name == name]
        if not known:
            names = ", ".join(dict.fromkeys(hp.name for hp in hyperparameters.space))
            raise InitxError("enqueue", name, f"a hyperparameter of the space: {names}")
        if not any(_has(hp, value) for hp in known):
            raise InitxError(f"enqueue ({name})", value, _allowed(known[0]))


def _has(hp: Any, value: Any) -> bool:
    if isinstance(hp, hp_types.Boolean):
        return isinstance(value, bool)
    if isinstance(hp, hp_types.Fixed):
        return bool(value == hp.value)
    if isinstance(hp, hp_types.Choice):
        return value in hp.values
    return isinstance(value, int | float) and hp.min_value <= value <= hp.max_value


def _allowed(hp: Any) -> str:
    if isinstance(hp, hp_types.Float | hp_types.Int):
        return f"from {hp.min_value} to {hp.max_value}"
    return ", ".join(repr(value) for value in getattr(hp, "values", [hp.default]))


def _values(hp: Any) -> list[Any]:
    """The values of a discrete hyperparameter; KerasTuner lists whole numbers with a factor as floats."""
    return [round(v) for v in hp.values] if isinstance(hp, hp_types.Int) else list(hp.values)


def _last_step(hp: Any) -> Any:
    """The last value of a range with a step: Optuna warns of an upper limit that is none of its steps."""
    low, high, step = (Decimal(str(value)) for value in (hp.min_value, hp.max_value, hp.step))
    return type(hp.max_value)(low + (high - low) // step * step)


def grid_of(hyperparameters: keras_tuner.HyperParameters) -> dict[str, list[Any]]:
    """Every value of every hyperparameter of a space that is discrete and without conditions.

    Raises:
        InitxError: A continuous range; a hyperparameter under a condition.
    """
    grid: dict[str, list[Any]] = {}
    for hp in hyperparameters.space:
        if hp.conditions:
            raise InitxError("tuner", "grid", f"random or tpe: {hp.name!r} is under a condition")
        if isinstance(hp, hp_types.Fixed):
            continue
        if isinstance(hp, hp_types.Float) and hp.step is None:
            remedy = f"Give {hp.name} a list of values instead of a range."
            raise InitxError("tuner", "grid", f"random or tpe: {hp.name!r} is a continuous range", remedy)
        grid[hp.name] = _values(hp)
    return grid


def grid_size(hyperparameters: keras_tuner.HyperParameters) -> int:
    """The number of points of `grid_of`."""
    return math.prod(len(values) for values in grid_of(hyperparameters).values())
