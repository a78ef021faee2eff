"""Command lines made from the one that was typed: to resume, repeat or join a search."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from keras_initx.tuning import redacted

# Hyperparameters that `keras-initx tune` has an option for.
_HYPERPARAMETERS = {
    "initializer": "--initializers",
    "activation": "--activations",
    "learning_rate": "--learning-rates",
    "optimizer": "--optimizer",
}
# Options that the command for a single trial replaces or does not need.
_OF_MANY_TRIALS = (
    *_HYPERPARAMETERS.values(),
    *("--tuner", "--trials", "--pruner", "--extra-seeds"),
    *("--workers", "--trials-each", "--results", "--logs", "--storage"),
)
# Options of the process that waits for the workers.
_OF_THE_PARENT = ("--workers", "--trials-each", "--extra-seeds", "--storage")


def resume_line(arguments: Sequence[str]) -> str:
    """Return the same command with --resume, with passwords hidden."""
    return _line([*_public(_without(arguments, flags=("--overwrite", "--resume"))), "--resume"])


def repeat_line(arguments: Sequence[str], values: Mapping[str, Any] | None = None) -> str | None:
    """Return a command that repeats a search or one of its trials, with passwords hidden.

    Args:
        arguments: What followed `keras-initx` when the search was started.
        values: The hyperparameters of the trial to repeat, or None for the whole search.

    Returns:
        The command, or None if no option sets one of the values.
    """
    if values is None:
        return _line(_public(_without(arguments, flags=("--resume", "--overwrite", "--join"))))
    if not values.keys() <= _HYPERPARAMETERS.keys() or arguments[0] != "tune":
        return None
    options = [part for name, value in values.items() for part in (_HYPERPARAMETERS[name], str(value))]
    kept = _public(_without(arguments, _OF_MANY_TRIALS, ("--resume", "--overwrite", "--join")))
    return _line([*kept, "--tuner", "grid", *options, "--results", "results/best"])


def worker_command(arguments: Sequence[str]) -> list[str]:
    """Return the command of a process that joins the search of this command."""
    flags = ("--overwrite", "--resume", "--json", "--quiet", "-q")
    kept = _without(arguments[1:], _OF_THE_PARENT, flags)
    # -P keeps the working directory out of the search for modules: a numpy.py lying there must not run.
    return [sys.executable, "-P", "-m", "keras_initx.tuning", *kept, "--join", "--quiet"]


def value_of(option: str, arguments: Sequence[str]) -> str | None:
    """Return the value that the arguments give to an option, the last one if there are several, or None."""
    value = None
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        if argument == option:
            value = following
        elif argument.startswith(f"{option}="):
            value = argument.removeprefix(f"{option}=")
    return value


def _line(arguments: Sequence[str]) -> str:
    return shlex.join(["keras-initx", *arguments])


def _public(arguments: Sequence[str]) -> list[str]:
    return [redacted(argument) or argument for argument in arguments]


def _without(arguments: Sequence[str], options: Sequence[str] = (), flags: Sequence[str] = ()) -> list[str]:
    """Return the arguments without some options, which have a value each, and some flags."""
    kept, is_value = [], False
    for argument in arguments:
        if is_value:
            is_value = False
        elif argument.split("=")[0] in options:
            is_value = "=" not in argument
        elif argument not in flags:
            kept.append(argument)
    return kept
