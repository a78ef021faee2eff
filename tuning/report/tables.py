"""Tables of the trials of a search, for the terminal and for TensorBoard."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from keras_initx.errors import printable

from ..stats import score_format
from ..study import TrialResult, best_per_cell, best_trial


def ranking(trials: Sequence[TrialResult], objective: Any) -> Table:
    """Return a table of all trials from best to worst; trials without a result come last.

    Args:
        trials: The trials.
        objective: Has the `name` and the `direction` ("max" or "min") of the metric.
    """
    table = Table(title="All trials", title_justify="left")
    table.add_column("trial", justify="right")
    # One column for all hyperparameters, wide enough for the longest: there may be many, and a value that is
    # cut off is useless.
    texts = [text for trial in trials for text in value_texts(trial)]
    table.add_column("hyperparameters", min_width=max(map(len, texts), default=0))
    for header in (objective.name, "95 % interval"):
        table.add_column(header, no_wrap=True)
    table.add_column("status", overflow="fold", min_width=9)
    for trial in ranked(trials, objective):
        low, high = trial.sample.interval(within=bounds_of(objective))
        form = score_format(trial.sample.mean)
        table.add_row(
            str(trial.number),
            values_text(trial),
            trial.sample.describe() if trial.seeds else "–",
            f"{low:{form}} to {high:{form}}" if low == low else "–",
            # Rich reads brackets in a string as markup, but a reason may contain any.
            Text(printable(": ".join(part for part in (trial.status, trial.reason or trial.out) if part))),
        )
    return table


def ranked(trials: Sequence[TrialResult], objective: Any) -> list[TrialResult]:
    """Return the trials from best to worst mean over all seeds; trials without a result come last."""
    sign = -1 if objective.direction == "max" else 1
    completed = sorted((t for t in trials if t.status == "completed"), key=lambda t: sign * t.sample.mean)
    return [*completed, *(t for t in trials if t.status != "completed")]


def bounds_of(objective: Any) -> tuple[float, float]:
    """Return the lowest and the highest possible value of the objective."""
    # The interval of the mean of a few accuracies can reach beyond 1.
    return (0.0, 1.0) if objective.name.endswith("accuracy") else (-math.inf, math.inf)


def cross_table(
    trials: Sequence[TrialResult],
    row: str,
    column: str,
    direction: str,
    title: str,
    rows: Sequence[Any] | None = None,
    columns: Sequence[Any] | None = None,
) -> Table:
    """Return a table with the best trial for each pair of values of two hyperparameters.

    Args:
        trials: The trials of a search.
        row, column: The hyperparameters down and across.
        direction: "max" or "min".
        title: The title of the table.
        rows, columns: The values of `row` and `column` in order; by default in the order of the trials.
    """
    cells = best_per_cell(trials, (row, column), direction)
    rows = rows or list(dict.fromkeys(t.values.get(row) for t in trials))
    columns = columns or list(dict.fromkeys(t.values.get(column) for t in trials))
    best = best_trial(tuple(cells.values()), direction, of=trials)
    table = Table(title=title, title_justify="left")
    table.add_column(row)
    for name in columns:
        table.add_column(_text(name), justify="right")
    for name in rows:
        texts = []
        for other in columns:
            trial = cells.get((name, other))
            text = "–" if trial is None else trial.sample.describe()
            texts.append(f"[bold]{text}[/]" if trial is not None and trial is best else text)
        table.add_row(_text(name), *texts)
    return table


def _text(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else printable(str(value))


def values_text(trial: TrialResult) -> str:
    """Return the hyperparameters of a trial in one line."""
    return " ".join(value_texts(trial))


def value_texts(trial: TrialResult) -> list[str]:
    """Return the hyperparameters of a trial, each as "name=value"."""
    return [f"{printable(name)}={_text(value)}" for name, value in trial.values.items()]
