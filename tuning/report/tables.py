"""The tables that a search ends with."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ..stats import LEVEL, level_of, paired
from ..study import TrialResult, best_per_cell, best_trial, raced


def ranking(trials: Sequence[TrialResult], objective: Any) -> Table:
    """All trials from best to worst, those without a result last.

    Args:
        trials: The trials.
        objective: Its name and direction ("max" or "min") head and order the table.
    """
    table = Table(title="All trials", title_justify="left")
    table.add_column("trial", justify="right")
    # One column for all hyperparameters: there may be many, and a cut-off value is worth nothing.
    tokens = [f"{name}={_text(value)}" for trial in trials for name, value in trial.values.items()]
    table.add_column("hyperparameters", min_width=max(map(len, tokens), default=0))
    for header in (objective.name, "95 % interval"):
        table.add_column(header, no_wrap=True)
    table.add_column("status", overflow="fold", min_width=9)
    for trial in ranked(trials, objective):
        low, high = trial.sample.interval(within=bounds_of(objective))
        table.add_row(
            str(trial.number),
            values_text(trial),
            trial.sample.describe() if trial.seeds else "–",
            f"{low:.3f} to {high:.3f}" if low == low else "–",
            # Text, and not a string: brackets in an error message are no markup.
            Text(": ".join(part for part in (trial.status, trial.reason or trial.out) if part)),
        )
    return table


def ranked(trials: Sequence[TrialResult], objective: Any) -> list[TrialResult]:
    """The trials from best to worst mean over all seeds, those without a result last."""
    sign = -1 if objective.direction == "max" else 1
    done = sorted((t for t in trials if t.status == "completed"), key=lambda t: sign * t.sample.mean)
    return [*done, *(t for t in trials if t.status != "completed")]


def bounds_of(objective: Any) -> tuple[float, float]:
    """Between what the objective can be."""
    # A mean of few accuracies has an interval that reaches beyond 1.
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
    """The best trial for each pair of two hyperparameters: `row` down, `column` across.

    `rows` and `columns` order their values; by default they come in the order of the trials.
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
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def describe_lead(trials: Sequence[TrialResult], objective: Any) -> str:
    """What the lead of the best trial over the next one is worth; "" where nothing can be told of it."""
    best = best_trial(trials, objective.direction)
    if best is None:
        return ""
    rest = [t for t in trials if t.number != best.number]
    racing = [t for t in rest if t.race and not t.out]
    second = best_trial(racing if best.race and racing else rest, objective.direction, of=trials)
    if second is None:
        return ""
    metric = objective.name.removeprefix("val_")
    race = bool(best.race and racing)
    scores = {f"trial {t.number} ({values_text(t)})": t.scores(race=race) for t in (best, second)}
    tests = {name: t.test_scores(metric) for name, t in zip(scores, (best, second), strict=True)}
    source, level = "on the scores by which they were chosen", LEVEL
    if race:
        source = "in the race"
        fewest = min(map(len, scores.values()))
        level = level_of(raced(trials), fewest)
        if not level:
            return f"The best two in the race: no more than {fewest} seeds each, which tell nothing yet."
    elif all(tests.values()):
        source, scores = "on the test data", tests
    first, last = scores.values()
    if len(first.keys() & last.keys()) < 2:
        return ""
    found = paired(scores, objective.direction, level, points=objective.name.endswith("accuracy"))
    return f"The best two {source}: {found.describe()}"


def values_text(trial: TrialResult) -> str:
    """The hyperparameters of a trial in a line."""
    return " ".join(value_texts(trial))


def value_texts(trial: TrialResult) -> list[str]:
    """The same, each for itself."""
    return [f"{name}={_text(value)}" for name, value in trial.values.items()]
