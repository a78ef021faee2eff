"""The tables that a search ends with."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from .results import TrialResult, best_per_cell


def ranking(trials: Sequence[TrialResult], objective: Any) -> Table:
    """All trials from best to worst, those without a result last.

    Args:
        trials: The trials.
        objective: Its name and direction ("max" or "min") head and order the table.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    table = Table(title="All trials", title_justify="left")
    for header in ("trial", *names, objective.name, "95 % interval", "status"):
        table.add_column(header, no_wrap=header in (objective.name, "95 % interval"))
    sign = -1 if objective.direction == "max" else 1
    done = sorted((t for t in trials if t.status == "completed"), key=lambda t: sign * t.sample.mean)
    for trial in [*done, *(t for t in trials if t.status != "completed")]:
        low, high = trial.sample.interval()
        table.add_row(
            str(trial.number),
            *(_text(trial.values.get(name)) for name in names),
            trial.sample.describe() if trial.seeds else "–",
            f"{low:.3f} to {high:.3f}" if low == low else "–",
            f"{trial.status}: {trial.reason}" if trial.reason else trial.status,
        )
    return table


def cross_table(
    trials: Sequence[TrialResult], row: str, column: str, direction: str, title: str
) -> Table:
    """The best trial for each pair of two hyperparameters: `row` down, `column` across."""
    cells = best_per_cell(trials, (row, column), direction)
    rows = list(dict.fromkeys(t.values.get(row) for t in trials))
    columns = list(dict.fromkeys(t.values.get(column) for t in trials))
    best = None
    if cells:
        best = (max if direction == "max" else min)(cells, key=lambda key: cells[key].sample.mean)
    table = Table(title=title, title_justify="left")
    table.add_column(row)
    for name in columns:
        table.add_column(_text(name), justify="right")
    for name in rows:
        found = [cells.get((name, other)) for other in columns]
        texts = [
            "–" if t is None else f"[bold]{t.sample.describe()}[/]" if (name, other) == best else t.sample.describe()
            for t, other in zip(found, columns, strict=True)
        ]
        table.add_row(_text(name), *texts)
    return table


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
