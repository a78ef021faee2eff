"""Check for arguments of `InitializerTuner` that conflict, or that belong to another tuner."""

import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import keras_tuner
import numpy as np

from keras_initx.errors import InitxError, check_positive, is_number

from ..parallel import check_keeps
from ..space import InitializerHyperModel, SearchSpace
from ..study import OptunaOracle

DEFAULT_EXECUTIONS = 3
# NumPy takes seeds of 32 bits.
_SEEDS = 2**32

# What takes the place of KerasTuner's tuners that have arguments of their own.
_INSTEAD = {
    keras_tuner.Hyperband: (
        "Use pruner='hyperband' for the same early stopping, and pass `max_trials`, and `epochs` to search()."
    ),
    keras_tuner.BayesianOptimization: (
        "Use sampler='tpe' or sampler='gp', or pass it to "
        "sampler=keras_tuner.oracles.BayesianOptimizationOracle(...)."
    ),
}


# The arguments that describe an oracle, and their defaults.
_OF_THE_ORACLE = {
    "objective": None,
    "max_trials": 10,
    "hyperparameters": None,
    "tune_new_entries": True,
    "allow_new_entries": True,
    "max_retries_per_trial": 0,
    "max_consecutive_failed_trials": 3,
    "sampler": "tpe",
    "storage": None,
}


def check_ranges(
    max_trials: object,
    max_retries_per_trial: object,
    max_consecutive_failed_trials: object,
    patience: object,
    target: Any,
) -> None:
    """Raise an `InitxError` for a number of `InitializerTuner` outside of its range."""
    for name, value in (("max_trials", max_trials), ("patience", patience)):
        if value is not None:
            check_positive(name, value)
    check_positive("max_consecutive_failed_trials", max_consecutive_failed_trials)
    retries = max_retries_per_trial
    if isinstance(retries, bool) or not isinstance(retries, Integral) or retries < 0:
        raise InitxError("max_retries_per_trial", retries, "an integer >= 0")
    check_target(target)


def check_target(target: Any, metric: str = "the metric") -> None:
    """Raise an `InitxError` for a target that is neither None nor a finite number."""
    if target is not None and not (is_number(target) and math.isfinite(target)):
        raise InitxError("target", target, f"None or a finite value of {metric}")


def check_flags(**flags: object) -> None:
    """Raise an `InitxError` for a flag that is not a bool: "off" would count as true."""
    for argument, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise InitxError(argument, value, "True or False")


def check_types(hyperparameters: object, jit_compile: object, screening: object) -> None:
    """Raise an `InitxError` for an argument of `InitializerTuner` of another type than its own."""
    check_flags(jit_compile=jit_compile, screening=screening)
    if not isinstance(hyperparameters, keras_tuner.HyperParameters | None):
        raise InitxError("hyperparameters", hyperparameters, "a keras_tuner.HyperParameters")


def check_further(arguments: Mapping[str, Any]) -> None:
    """Raise an `InitxError` for an argument that only another tuner of KerasTuner has, or that would do harm.

    Args:
        arguments: Those for `keras_tuner.Tuner`, which refuses the unknown ones itself.
    """
    check_keeps(arguments.get("overwrite", False))
    common = inspect.signature(keras_tuner.Tuner.__init__).parameters
    for name, value in arguments.items():
        for kind, remedy in _INSTEAD.items():
            if name in inspect.signature(kind.__init__).parameters and name not in common:
                problem = f"`{name}` is an argument of {kind.__name__}, which InitializerTuner does not have"
                raise InitxError(name, value, f"passed to {kind.__name__} only", remedy, problem)


def study_oracle(
    oracle: keras_tuner.Oracle | None, arguments: Mapping[str, Any], seed: int | None
) -> OptunaOracle:
    """Return an oracle whose memory is a study: a new one, the same one, or one that asks it for values.

    Args:
        oracle: As in `InitializerTuner`.
        arguments: Those of `InitializerTuner` that describe a new oracle, which no other one goes with.
        seed: The seed of a new one.

    Raises:
        InitxError: It is not an oracle, no study can restore it, or it replaces another argument.
    """
    if oracle is None:
        return OptunaOracle(seed=seed, **arguments)
    for name, value in arguments.items():
        default = _OF_THE_ORACLE[name]
        if value is not default and value != default:
            allowed = f"{default!r} if `oracle` is passed"
            raise InitxError(name, value, allowed, "Pass it to the oracle.")
    # What takes the reports of a tuner: an `OptunaOracle`, or the oracle of an `objective`.
    if hasattr(oracle, "report_seed"):
        return oracle
    if not isinstance(oracle, keras_tuner.Oracle):
        remedy = "Pass an instance, not the class." if isinstance(oracle, type) else ""
        raise InitxError("oracle", oracle, "an OptunaOracle or another keras_tuner.Oracle", remedy)
    return OptunaOracle(
        oracle.objective,
        oracle.max_trials,
        sampler=oracle,
        seed=oracle.seed,
        # An oracle without entries of its own must not ignore all others.
        hyperparameters=oracle.hyperparameters if oracle.hyperparameters.space else None,
        tune_new_entries=oracle.tune_new_entries,
        allow_new_entries=oracle.allow_new_entries,
        max_retries_per_trial=oracle.max_retries_per_trial,
        max_consecutive_failed_trials=oracle.max_consecutive_failed_trials,
    )


def wrapped(
    hypermodel: Any,
    space: SearchSpace | None,
    hyperparameters: keras_tuner.HyperParameters | None,
    lenient: bool,
) -> Any:
    """Return an `InitializerHyperModel` of a user's model or function; None stays None.

    Args:
        hypermodel: As in `InitializerTuner`.
        space: What to search besides the model's own hyperparameters.
        hyperparameters: Those that the user gives; they may replace hyperparameters of the space.
        lenient: Whether the function may return something other than a model.

    Raises:
        InitxError: `space` is passed, but would have no effect.
    """
    if hypermodel is None or isinstance(hypermodel, InitializerHyperModel):
        if space is not None:
            allowed = "None without a hypermodel, or for an InitializerHyperModel, which has a space already"
            raise InitxError("space", space, allowed)
        return hypermodel
    made = InitializerHyperModel(hypermodel, space)
    made.lenient = lenient
    made.given = tuple(hyperparameters.space) if hyperparameters else ()
    return made


def seeds_of(
    seeds: int | Sequence[int] | None, first: object = 0, executions: int | None = None
) -> tuple[int, ...]:
    """Return the seeds of every trial: a number of them that counts up from `first`, or the listed ones.

    Args:
        seeds: The number or the list; None for `executions` seeds.
        first: The first seed of a number of them.
        executions: The number of seeds by KerasTuner's name, by default 3; only where `seeds` is None.

    Raises:
        InitxError: There is no seed, one occurs twice or has more than the 32 bits that NumPy takes, or both
            numbers are passed.

    Example:

    >>> seeds_of(2, 7), seeds_of([4, 9]), seeds_of(None, 1)
    ((7, 8), (4, 9), (1, 2, 3))
    """
    if not _is_seed(first):
        raise InitxError("seed", first, f"an integer from 0 to {_SEEDS - 1}")
    if seeds is None:
        count = DEFAULT_EXECUTIONS if executions is None else executions
        seeds = check_positive("executions_per_trial", count)
    elif executions is not None:
        raise InitxError("executions_per_trial", executions, "None if `seeds` is passed")
    if isinstance(seeds, Integral):
        return tuple((int(first) + i) % _SEEDS for i in range(check_positive("seeds", seeds)))  # type: ignore[call-overload]
    listed = list(seeds) if isinstance(seeds, Iterable) else []
    if not listed or len(set(listed)) < len(listed) or not all(_is_seed(seed) for seed in listed):
        allowed = f"an integer >= 1, or a list of distinct seeds from 0 to {_SEEDS - 1}"
        raise InitxError("seeds", seeds, allowed)
    return tuple(map(int, listed))


def _is_seed(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < _SEEDS
