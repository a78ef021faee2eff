"""Write out how to repeat a search or its best trial: as a command line, or as a call of `search`."""

from collections.abc import Callable, Mapping
from typing import Any

from ..study import TrialResult

# Returns the command line that repeats a trial with these hyperparameters (None: the whole search), or None.
CommandLine = Callable[[Mapping[str, Any] | None], str | None]
# The arguments of `search` that the settings contain unchanged, and those in a group of options.
_ARGUMENTS = ("epochs", "seeds", "batch_size", "objective")
_GROUPS = {
    "stopping": ("Stopping", ("patience", "target", "screening", "pruner")),
    "execution": ("Execution", ("jit_compile", "strategy")),
}


def reproduce_page(
    best: TrialResult | None, settings: Mapping[str, Any], command: CommandLine | None = None
) -> str:
    """Return a page of Markdown on how to repeat a search and its best trial.

    Args:
        best: The best trial, or None if no trial is completed.
        settings: The arguments of `search` by name, and "space".
        command: A function that returns the command lines. Without it, the page shows calls of `search`.
    """
    call = _call(settings, tuner=settings["tuner"], trials=settings["trials"], seed=settings["seed"],
                 extra_seeds=settings["extra_seeds"])  # fmt: skip
    parts = [
        "### Repeat the search",
        _block(command and command(None), call),
        f"keras-initx {settings['version']}, data: {settings['data']}",
    ]
    if best is not None:
        # One trial has nothing to fall behind.
        alone = {**settings, "pruner": []}
        call = _call(alone, tuner="random", trials=1, enqueue=[dict(best.values)], results="results/best")
        parts += [
            f"### Repeat its best trial, number {best.number}",
            _block(command and command(best.values), call),
        ]
    return "\n\n".join(parts)


def _block(line: str | None, call: str) -> str:
    """Return the command line, or the call if there is none."""
    if line is not None:
        return f"```bash\n{line}\n```"
    same = "In Python, with the same model, data and `space`:"
    return f"{same}\n\n```python\n{call}\n```"


def _call(settings: Mapping[str, Any], **more: Any) -> str:
    arguments = more | {name: settings[name] for name in _ARGUMENTS}
    lines = [f"    {name}={value!r}," for name, value in arguments.items() if value is not None]
    for argument, (group, names) in _GROUPS.items():
        values = {name: settings[name] for name in names if settings[name] not in (None, [])}
        fields = ", ".join(f"{name}={value!r}" for name, value in values.items())
        lines.append(f"    {argument}={group}({fields}),")
    return "\n".join(["search(", "    model,", "    data,", *lines, ")"])
