"""How to run a search, or its best trial, once more: the exact command, or the call."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..storage import redacted
from ..study import TrialResult

# What a command line calls the hyperparameters that it searches.
_OPTIONS = {
    "initializer": "--initializers",
    "activation": "--activations",
    "learning_rate": "--learning-rates",
}
# What a command for one trial leaves to its own values, or has no use for.
_WITH_VALUE = (
    *_OPTIONS.values(),
    *("--tuner", "--trials", "--pruner", "--extra-seeds"),
    *("--workers", "--trials-each", "--results", "--logs", "--storage"),
)
_FLAGS = ("--resume", "--overwrite", "--join")
# The arguments of `search` that settings hold as they were given.
_ARGUMENTS = (
    *("epochs", "seeds", "batch_size", "patience", "objective", "target"),
    *("screening", "jit_compile", "strategy"),
)


def repeat_page(
    best: TrialResult | None, settings: Mapping[str, Any], command: Sequence[str] | None = None
) -> str:
    """A page of Markdown that tells how to repeat a search and its best trial. No password is in it.

    Args:
        best: The best trial; None where there is none.
        settings: The arguments of `search` by name, and "space".
        command: The command line that started the search; None where a program called `search`.
    """
    again = _call(settings, tuner=settings["tuner"], trials=settings["trials"], seed=settings["seed"],
                  pruner=list(settings["pruner"]) or None, extra_seeds=settings["extra_seeds"])  # fmt: skip
    parts = ["### The search once more"]
    if command is None:
        parts += [f"With the same model, data and `initializers=`, `learning_rates=` ...:\n\n{_code(again)}"]
    else:
        parts += [_code(shlex.join(_without(command, (), ("--resume", "--overwrite"))), "bash")]
    parts += [f"keras-initx {settings['version']}, data: {settings['data']}"]
    if best is not None:
        parts += [f"### Its best trial, number {best.number}, once more"]
        line = None if command is None else _line(command, best.values)
        one = _call(settings, tuner="random", trials=1, enqueue=[dict(best.values)], results="results/best")
        same = "In Python, with the same model, data and `initializers=`, `learning_rates=` ...:"
        parts += [f"{same}\n\n{_code(one)}" if line is None else _code(line, "bash")]
    return "\n\n".join(parts)


def _line(command: Sequence[str], values: Mapping[str, Any]) -> str | None:
    """The command that runs one trial only; None where a value of it has no option."""
    if not values.keys() <= _OPTIONS.keys() or command[1:2] != ["tune"]:
        return None
    chosen = [part for name, value in values.items() for part in (_OPTIONS[name], str(value))]
    return shlex.join(
        [*_without(command, _WITH_VALUE, _FLAGS), "--tuner", "grid", *chosen, "--results", "results/best"]
    )


def _without(command: Sequence[str], options: Sequence[str], flags: Sequence[str]) -> list[str]:
    """The command without some options and flags, and with no password in the others."""
    kept, skipping = [], False
    for argument in command:
        if skipping:
            skipping = False
        elif argument.split("=")[0] in options:
            skipping = "=" not in argument
        elif argument not in flags:
            kept.append(redacted(argument) or argument)
    return kept


def _call(settings: Mapping[str, Any], **more: Any) -> str:
    given = more | {name: settings[name] for name in _ARGUMENTS}
    lines = [f"    {name}={value!r}," for name, value in given.items() if value is not None]
    return "\n".join(["search(", "    model,", "    data,", *lines, ")"])


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"
