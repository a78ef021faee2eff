"""The sentences and the table rows of a report page."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..study import TrialResult, best_trial
from .lead import describe_lead
from .tables import bounds_of, ranked, value_texts, values_text

_NO_VALUE = "–"
_STATUS = {
    "completed": "completed",
    "screened": "screened before training",
    "pruned": "pruned in training",
    "failed": "failed",
    "running": "running or interrupted",
}


def number_text(value: float | None) -> str:
    """Return a number with three decimals, or with three digits if the decimals would be zeros.

    Example:

    >>> number_text(0.98765), number_text(0.00012), number_text(float("nan"))
    ('0.988', '0.00012', '–')
    """
    if value is None or not math.isfinite(value):
        return _NO_VALUE
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def sentences(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> list[str]:
    """Summarize a search: what ran, which trial is the best, and how sure its lead is.

    Args:
        trials: All trials.
        objective: Has the `name` and the `direction` ("max" or "min") of the metric.
        values: The value of each completed trial in the study, for trials without seeds.
    """
    if not trials:
        return ["No trial has begun."]
    counts = Counter(trial.status for trial in trials)
    kinds = ", ".join(f"{counts[status]} {text}" for status, text in _STATUS.items() if counts[status])
    lines = [f"{_plural(len(trials), 'trial')}: {kinds}."]
    if counts["running"]:
        lines.append("The search is still running, or was interrupted: this page shows its results so far.")
    best = best_trial(trials, objective.direction)
    if best is None:
        return [*lines, _best_without_seeds(trials, objective, values)]
    low, high = best.sample.interval(within=bounds_of(objective))
    interval = f", 95 % interval {number_text(low)} to {number_text(high)}" if best.sample.n > 1 else ""
    lines.append(f"Best: {_name_of(best)}, {objective.name} {best.sample.describe()}{interval}.")
    metric = objective.name.removeprefix("val_")
    if best.test_scores(metric):
        lines.append(
            f"Its {metric} on the test data, which chose nothing: {best.test_sample(metric).describe()}."
        )
    lead = describe_lead(trials, objective)
    if lead:
        lines.append(lead)
    elif best.sample.n < 2:
        lines.append("With one seed per trial, a difference may be chance.")
    elif counts["completed"] < 2:
        lines.append("No other trial is completed, so there is no comparison.")
    if best.race:
        lines.append("The best trials ran extra seeds, and these decided which trial is the best.")
    return lines


def rows(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> list[dict[str, Any]]:
    """Return the ranking as one dictionary of texts for each trial; arguments as in `sentences`."""
    best = best_trial(trials, objective.direction)
    metric = objective.name.removeprefix("val_")
    table = []
    for trial in _ordered(trials, objective, values):
        low, high = trial.sample.interval(within=bounds_of(objective))
        tests = trial.test_sample(metric)
        spread = f" ± {number_text(tests.std)}" if tests.n > 1 else ""
        table.append(
            {
                "number": trial.number,
                "best": best is not None and trial.number == best.number,
                "values": value_texts(trial),
                "mean": number_text(trial.sample.mean if trial.seeds else values.get(trial.number)),
                "std": number_text(trial.sample.std),
                "interval": f"{number_text(low)} to {number_text(high)}" if low == low else _NO_VALUE,
                "n": trial.sample.n or _NO_VALUE,
                "test": number_text(tests.mean) + spread if tests.n else "",
                "status": trial.status,
                "reason": trial.reason or trial.out,
            }
        )
    return table


def seed_rows(trials: Sequence[TrialResult], objective: Any) -> tuple[list[int], list[dict[str, Any]]]:
    """Return all seeds, and for each trial the score of each seed with the epoch that reached it."""
    with_seeds = [trial for trial in ranked(trials, objective) if trial.seeds]
    seeds = list(dict.fromkeys(seed for trial in sorted(with_seeds, key=_race_seeds) for seed in trial.seeds))
    table = []
    for trial in with_seeds:
        cells = [_cell(trial.seeds.get(seed)) for seed in seeds]
        table.append({"number": trial.number, "values": values_text(trial), "cells": cells})
    return seeds, table


def _cell(record: Mapping[str, Any] | None) -> tuple[str, str]:
    if record is None:
        return _NO_VALUE, ""
    when = f"epoch {record['best_epoch']} of {record['epochs']}" if "best_epoch" in record else ""
    diverged = record.get("diverged_in_epoch")
    return number_text(record["score"]), f"{when}, diverged in {diverged}" if diverged else when


def _race_seeds(trial: TrialResult) -> int:
    # The columns of race seeds come last, since most trials have none.
    return len(trial.race)


def _ordered(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> list[TrialResult]:
    by_mean = ranked(trials, objective)
    completed = [trial for trial in by_mean if trial.status == "completed"]
    if any(trial.seeds for trial in completed):
        return by_mean
    sign = -1 if objective.direction == "max" else 1
    completed.sort(key=lambda trial: sign * values.get(trial.number, math.nan))
    return [*completed, *(trial for trial in by_mean if trial.status != "completed")]


def _best_without_seeds(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> str:
    with_value = [trial for trial in trials if trial.number in values]
    if not with_value:
        return "No trial is completed, so there is no best one."
    best = (max if objective.direction == "max" else min)(with_value, key=lambda trial: values[trial.number])
    line = f"Best: {_name_of(best)}, {objective.name} {number_text(values[best.number])}."
    return f"{line} The study has one value per trial and no seeds, so a difference may be chance."


def _name_of(trial: TrialResult) -> str:
    values = values_text(trial)
    return f"trial {trial.number}" + (f" ({values})" if values else "")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
