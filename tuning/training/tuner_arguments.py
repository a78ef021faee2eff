"""Check the arguments of `InitializerTuner` that replace each other."""

from collections.abc import Sequence
from typing import Any

from keras_initx.errors import InitxError, check_positive

from ..space import InitializerHyperModel, SearchSpace

DEFAULT_EXECUTIONS = 3


def check_replaced(**arguments: tuple[Any, Any]) -> None:
    """Raise an `InitxError` for an argument of the oracle that is passed next to an oracle.

    Args:
        **arguments: The value and the default of each argument.
    """
    for name, (value, default) in arguments.items():
        if value is not default and value != default:
            allowed = f"{default!r} where `oracle` is passed"
            raise InitxError(name, value, allowed, "Pass it to the oracle.")


def wrapped(hypermodel: Any, space: SearchSpace | None, lenient: bool) -> Any:
    """Return an `InitializerHyperModel` of a user's model or function; None stays None.

    Args:
        hypermodel: As in `InitializerTuner`.
        space: What to search besides the model's own hyperparameters.
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
    if not isinstance(seeds, Sequence) or not seeds or len(set(seeds)) < len(seeds):
        raise InitxError("seeds", seeds, "a list of one or more different integers")
    return tuple(seeds)
