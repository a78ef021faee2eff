"""Convert KerasTuner's hyperparameters to Optuna's."""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as hp_types
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from keras_initx.errors import InitxError


@dataclass(frozen=True)
class Parameter:
    """A KerasTuner hyperparameter as a parameter of an Optuna study.

    Optuna knows no "reverse_log". KerasTuner draws such a value as low + high - u, with log(u) uniform, so
    the study has the parameter u under the name "NAME (reversed)": samplers see the scale of the user.

    Attributes:
        hyperparameter: The hyperparameter.
        name: The name in the study: the hyperparameter's, unless another parameter needs that name.
        distribution: The distribution in the study.
    """

    hyperparameter: Any
    name: str
    distribution: BaseDistribution

    def suggest(self, trial: Any) -> Any:
        """Return the parameter that an Optuna trial suggests."""
        range_: Any = self.distribution
        if isinstance(range_, CategoricalDistribution):
            return trial.suggest_categorical(self.name, range_.choices)
        if isinstance(range_, IntDistribution):
            return trial.suggest_int(self.name, range_.low, range_.high, step=range_.step, log=range_.log)
        return trial.suggest_float(self.name, range_.low, range_.high, step=range_.step, log=range_.log)

    def value_of(self, stored: Any) -> Any:
        """Return the hyperparameter's value for a parameter in the study."""
        if not _is_reversed(self.hyperparameter):
            return stored
        hp, (low, high) = self.hyperparameter, _reversed_range(self.hyperparameter)
        value = low + high - stored
        return min(int(value), hp.max_value) if isinstance(hp, hp_types.Int) else value

    def stored(self, value: Any) -> Any:
        """Return the parameter in the study for a value of the hyperparameter, the inverse of `value_of`."""
        if not _is_reversed(self.hyperparameter):
            return value
        low, high = _reversed_range(self.hyperparameter)
        # All of [n, n + 1) is rounded down to the integer n.
        middle = 0.5 if isinstance(self.hyperparameter, hp_types.Int) else 0.0
        return low + high - value - middle


def space_from(config: Mapping[str, Any]) -> keras_tuner.HyperParameters:
    """Return the hyperparameters of a configuration, and leave it as it is; `from_config` would modify it."""
    return keras_tuner.HyperParameters.from_config(copy.deepcopy(dict(config)))


def parameters_of(space: Iterable[Any]) -> list[Parameter]:
    """Return a parameter for each hyperparameter of a space that is not fixed, in order.

    Hyperparameters of one name under several conditions share a parameter if their ranges are equal. Optuna
    accepts a single range for a name, so any other range gets a name with its conditions: "units [kind=cnn]".
    """
    parameters: list[Parameter] = []
    ranges: dict[str, BaseDistribution] = {}
    for hp in space:
        if isinstance(hp, hp_types.Fixed):
            continue
        distribution = range_of(hp)
        name = hp.name
        if _is_reversed(hp):
            low, high = _reversed_range(hp)
            name, distribution = f"{name} (reversed)", FloatDistribution(low, high, log=True)
        if ranges.setdefault(name, distribution) != distribution:
            conditions = (f"{c.name}={'|'.join(map(str, c.values))}" for c in hp.conditions)
            name = f"{name} [{', '.join(conditions)}]"
        parameters.append(Parameter(hp, name, distribution))
    return parameters


def filled(space: Iterable[Any], choose: Callable[[Parameter], Any]) -> keras_tuner.HyperParameters:
    """Return the hyperparameters of a space with a value for each active one.

    Args:
        space: The hyperparameters, parents before the hyperparameters that depend on them.
        choose: Returns the value in the study of a parameter.
    """
    space = list(space)
    parameters = {id(parameter.hyperparameter): parameter for parameter in parameters_of(space)}
    hyperparameters = keras_tuner.HyperParameters()
    for hp in space:
        # An inactive hyperparameter of the same name must not touch the value of the active one.
        hyperparameters.merge([hp])
        if hyperparameters.is_active(hp):
            parameter = parameters.get(id(hp))
            value = hp.value if parameter is None else parameter.value_of(choose(parameter))
            hyperparameters.values[hp.name] = value
    return hyperparameters


def range_of(hp: Any) -> BaseDistribution:
    """Return the range of a hyperparameter's values as an Optuna distribution."""
    if isinstance(hp, hp_types.Boolean):
        return CategoricalDistribution([False, True])
    if isinstance(hp, hp_types.Choice):
        return CategoricalDistribution(list(hp.values))
    if hp.sampling != "linear" and hp.step is not None:
        # On a log scale the step is a factor, which Optuna does not support.
        return CategoricalDistribution(_values(hp))
    log = hp.sampling == "log"
    high = hp.max_value if hp.step is None else _last_step(hp)
    if isinstance(hp, hp_types.Int):
        return IntDistribution(hp.min_value, high, step=hp.step or 1, log=log)
    return FloatDistribution(hp.min_value, high, step=hp.step, log=log)


def allows(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution contains a value, for example a default that the user chose."""
    range_: Any = distribution
    if isinstance(range_, CategoricalDistribution):
        return any(value == choice and type(value) is type(choice) for choice in range_.choices)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not range_.low <= value <= range_.high
    ):
        return False
    if isinstance(range_, IntDistribution) and not isinstance(value, int):
        return False
    steps = 0.0 if range_.step is None else (value - range_.low) / range_.step
    return abs(steps - round(steps)) < 1e-8


def _is_reversed(hp: Any) -> bool:
    return getattr(hp, "sampling", None) == "reverse_log" and hp.step is None


def _reversed_range(hp: Any) -> tuple[float, float]:
    # KerasTuner draws an integer from [low, high + 1) and rounds it down.
    return float(hp.min_value), float(hp.max_value + isinstance(hp, hp_types.Int))


def check_known(
    hyperparameters: keras_tuner.HyperParameters, values: Mapping[str, Any], argument: str = "enqueue"
) -> None:
    """Raise an `InitxError` unless the search space contains the values of a candidate."""
    if not isinstance(values, Mapping):
        allowed = "a list of dictionaries with values by the names of hyperparameters"
        raise InitxError(argument, values, allowed)
    for name, value in values.items():
        declared = [hp for hp in hyperparameters.space if hp.name == name]
        if not declared:
            names = ", ".join(dict.fromkeys(hp.name for hp in hyperparameters.space))
            problem = f"`{argument}` has {name!r}, which is not a hyperparameter of this search"
            remedy = f"Hyperparameters: {names}."
            raise InitxError(argument, name, f"one of the hyperparameters {names}", remedy, problem)
        if not any(_contains(hp, value) for hp in declared):
            allowed = _allowed(declared[0])
            problem = f"`{argument}` must give {name!r} {allowed}, got {value!r}"
            raise InitxError(argument, value, allowed, problem=problem)


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


def count_points(hyperparameters: keras_tuner.HyperParameters) -> int | None:
    """Return an upper bound of the number of points in a space; None if it has a continuous range."""
    points = 1
    for hp in hyperparameters.space:
        if isinstance(hp, hp_types.Fixed):
            continue
        if isinstance(hp, hp_types.Float) and hp.step is None:
            return None
        whole = isinstance(hp, hp_types.Int) and hp.step is None
        points *= hp.max_value - hp.min_value + 1 if whole else len(_values(hp))
    return points
