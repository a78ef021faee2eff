"""Check the arguments of `InitializerTuner` that replace each other."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import keras_tuner
import numpy as np

from keras_initx.errors import InitxError, check_positive

from ..space import InitializerHyperModel, SearchSpace

DEFAULT_EXECUTIONS = 3


# The arguments that describe an oracle, and their defaults, in the order of `InitializerTuner`.
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


def check_replaced(values: Sequence[Any]) -> None:
    """Raise an `InitxError` for an argument of the oracle that is passed next to an oracle.

    Args:
        values: The values of objective, max_trials, hyperparameters, tune_new_entries, allow_new_entries,
            max_retries_per_trial, max_consecutive_failed_trials, sampler and storage.
    """
    for (name, default), value in zip(_OF_THE_ORACLE.items(), values, strict=True):
        if value is not default and value != default:
            allowed = f"{default!r} where `oracle` is passed"
            raise InitxError(name, value, allowed, "Pass it to the oracle.")


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
    if space is not None and not isinstance(space, SearchSpace):
        raise InitxError("space", space, "a SearchSpace", f"Pass SearchSpace(initializers={space!r}).")
    if hypermodel is None or isinstance(hypermodel, InitializerHyperModel):
        if space is not None:
            allowed = "None without a hypermodel, or for an InitializerHyperModel, which has a space already"
            raise InitxError("space", space, allowed)
        return hypermodel
    made = InitializerHyperModel(hypermodel, space)
    made.lenient = lenient
    made.given = frozenset(hp.name for hp in hyperparameters.space) if hyperparameters else frozenset()
    return made


def seeds_of(seeds: Sequence[int] | None, executions: int | None, first: int) -> tuple[int, ...]:
    """Return the seeds of every trial: the listed ones, or a number of them that counts up from `first`.

    Raises:
        InitxError: Both are passed, a seed occurs twice, or there is none.

    Example:

    >>> seeds_of(None, 2, 7), seeds_of([4, 9], None, 0)
    ((7, 8), (4, 9))
    """
    if seeds is None:
        count = DEFAULT_EXECUTIONS if executions is None else executions
        return tuple(range(first, first + check_positive("executions_per_trial", count)))
    if executions is not None:
        raise InitxError("executions_per_trial", executions, "None where `seeds` is passed")
    listed = list(seeds) if isinstance(seeds, Sequence | np.ndarray) else []
    whole = all(isinstance(seed, Integral) and 0 <= int(seed) < 2**32 for seed in listed)
    if not listed or not whole or len(set(listed)) < len(listed):
        raise InitxError("seeds", seeds, "a list of one or more different integers from 0 to 4294967295")
    return tuple(map(int, listed))
