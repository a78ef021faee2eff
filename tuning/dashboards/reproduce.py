"""Write out how to repeat a search or its best trial: as a command line, or as a call of `search`."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..storage import redacted
from ..study import TrialResult

# Hyperparameters that `keras-initx tune` has an option for.
_OPTIONS = {
    "initializer": "--initializers",
    "activation": "--activations",
    "learning_rate": "--learning-rates",
}
# Options that the command for a single trial replaces or does not need.
_REPLACED_OPTIONS = (
    *_OPTIONS.values(),
    *("--tuner", "--trials", "--pruner", "--extra-seeds"),
    *("--workers", "--trials-each", "--results", "--logs", "--storage"),
)
_REPLACED_FLAGS = ("--resume", "--overwrite", "--join")
# The arguments of `search` that the settings contain unchanged.
_ARGUMENTS = (
    *("epochs", "seeds", "batch_size", "patience", "objective", "target"),
    *("screening", "jit_compile", "strategy"),
)


def reproduce_page(
    best: TrialResult | None, settings: Mapping[str, Any], command: Sequence[str] | None = None
) -> str:
    """Return a page of Markdown on how to repeat a search and its best trial, without any password.

    Args:
        best: The best trial, or None if no trial is completed.
        settings: The arguments of `search` by name, and "space".
        command: The command line that started the search, or None for a call of `search`.
    """
    call = _call(settings, tuner=settings["tuner"], trials=settings["trials"], seed=settings["seed"],
                 pruner=list(settings["pruner"]) or None, extra_seeds=settings["extra_seeds"])  # fmt: skip
    parts = ["### Repeat the search"]
    if command is None:
        parts += [f"With the same model, data and `initializers=`, `learning_rates=` ...:\n\n{_code(call)}"]
    else:
        parts += [_code(shlex.join(_without(command, (), ("--resume", "--overwrite"))), "bash")]
    parts += [f"keras-initx {settings['version']}, data: {settings['data']}"]
    if best is not None:
        parts += [f"### Repeat its best trial, number {best.number}"]
        line = None if command is None else _trial_command(command, best.values)
        call = _call(settings, tuner="random", trials=1, enqueue=[dict(best.values)], results="results/best")
        same = "In Python, with the same model, data and `initializers=`, `learning_rates=` ...:"
        parts += [f"{same}\n\n{_code(call)}" if line is None else _code(line, "bash")]
    return "\n\n".join(parts)


def _trial_command(command: Sequence[str], values: Mapping[str, Any]) -> str | None:
    """Return the command that runs one trial only, or None if one of its values has no option."""
    if not values.keys() <= _OPTIONS.keys() or command[1:2] != ["tune"]:
        return None
    options = [part for name, value in values.items() for part in (_OPTIONS[name], str(value))]
    kept = _without(command, _REPLACED_OPTIONS, _REPLACED_FLAGS)
    return shlex.join([*kept, "--tuner", "grid", *options, "--results", "results/best"])


def _without(command: Sequence[str], options: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Return the command without some options and flags, and with passwords hidden in the others."""
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
    arguments = more | {name: settings[name] for name in _ARGUMENTS}
    lines = [f"    {name}={value!r}," for name, value in arguments.items() if value is not None]
    return "\n".join(["search(", "    model,", "    data,", *lines, ")"])


def _code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"
