"""What a report says of a search in words and rows: the sentences that its tables and figures stand under."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..study import TrialResult, best_trial
from .tables import bounds_of, describe_lead, ranked, value_texts, values_text

_NONE = "–"
_STATUS = {
    "completed": "completed",
    "screened": "screened before training",
    "pruned": "pruned in training",
    "failed": "failed",
    "running": "running or interrupted",
}


def number_text(value: float | None) -> str:
    """Three digits after the point, as on the terminal; three in all where those would be zeros."""
    if value is None or not math.isfinite(value):
        return _NONE
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"


def sentences(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> list[str]:
    """The search in a few sentences: what was run, which trial is the best, and what its lead is worth.

    Args:
        trials: All trials.
        objective: Its name and direction ("max" or "min").
        values: The value of each completed trial in the study, for those that have no seeds.
    """
    if not trials:
        return ["No trial has begun."]
    counts = Counter(trial.status for trial in trials)
    kinds = ", ".join(f"{counts[status]} {text}" for status, text in _STATUS.items() if counts[status])
    said = [f"{_plural(len(trials), 'trial')}: {kinds}."]
    if counts["running"]:
        said.append("The search is not finished, or was interrupted: what follows is what it has so far.")
    best = best_trial(trials, objective.direction)
    if best is None:
        return [*said, _without_seeds(trials, objective, values)]
    low, high = best.sample.interval(within=bounds_of(objective))
    interval = f", 95 % interval {number_text(low)} to {number_text(high)}" if best.sample.n > 1 else ""
    said.append(f"Best: {_named(best)}, {objective.name} {best.sample.describe()}{interval}.")
    metric = objective.name.removeprefix("val_")
    if best.test_scores(metric):
        said.append(
            f"On the test data, which decided nothing, its {metric}: {best.test_sample(metric).describe()}."
        )
    lead = describe_lead(trials, objective)
    if lead:
        said.append(lead)
    elif best.sample.n < 2:
        said.append("One seed of each trial says nothing about chance.")
    elif len([t for t in trials if t.status == "completed"]) < 2:
        said.append("No other trial is completed, to compare it with.")
    if best.race:
        said.append("The best trials were given further seeds, and these decided which is the best.")
    return said


def rows(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> list[dict[str, Any]]:
    """The ranking, a dictionary of texts for each trial."""
    best = best_trial(trials, objective.direction)
    metric = objective.name.removeprefix("val_")
    found = []
    for trial in _ordered(trials, objective, values):
        low, high = trial.sample.interval(within=bounds_of(objective))
        tests = trial.test_sample(metric)
        spread = f" ± {number_text(tests.std)}" if tests.n > 1 else ""
        found.append(
            {
                "number": trial.number,
                "best": best is not None and trial.number == best.number,
                "values": value_texts(trial),
                "mean": number_text(trial.sample.mean if trial.seeds else values.get(trial.number)),
                "std": number_text(trial.sample.std),
                "interval": f"{number_text(low)} to {number_text(high)}" if low == low else _NONE,
                "n": trial.sample.n or _NONE,
                "test": number_text(tests.mean) + spread if tests.n else "",
                "status": trial.status,
                "reason": trial.reason or trial.out,
            }
        )
    return found


def seed_rows(trials: Sequence[TrialResult], objective: Any) -> tuple[list[int], list[dict[str, Any]]]:
    """All seeds, and for each trial the score of each of them and when it was reached."""
    shown = [trial for trial in ranked(trials, objective) if trial.seeds]
    seeds = list(dict.fromkeys(seed for trial in sorted(shown, key=_fewest) for seed in trial.seeds))
    found = []
    for trial in shown:
        cells = [_cell(trial.seeds.get(seed)) for seed in seeds]
        found.append({"number": trial.number, "values": values_text(trial), "cells": cells})
    return seeds, found


def _cell(record: Mapping[str, Any] | None) -> tuple[str, str]:
    if record is None:
        return _NONE, ""
    when = f"epoch {record['best_epoch']} of {record['epochs']}" if "best_epoch" in record else ""
    diverged = record.get("diverged_in_epoch")
    return number_text(record["score"]), f"{when}, diverged in {diverged}" if diverged else when


def _fewest(trial: TrialResult) -> int:
    # Those of the race come last: most trials have none of them.
    return len(trial.race)


def _ordered(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> list[TrialResult]:
    found = ranked(trials, objective)
    done = [trial for trial in found if trial.status == "completed"]
    if any(trial.seeds for trial in done):
        return found
    sign = -1 if objective.direction == "max" else 1
    done.sort(key=lambda trial: sign * values.get(trial.number, math.nan))
    return [*done, *(trial for trial in found if trial.status != "completed")]


def _without_seeds(trials: Sequence[TrialResult], objective: Any, values: Mapping[int, float]) -> str:
    known = [trial for trial in trials if trial.number in values]
    if not known:
        return "No trial is completed, so there is no best one."
    best = (max if objective.direction == "max" else min)(known, key=lambda trial: values[trial.number])
    told = f"Best: {_named(best)}, {objective.name} {number_text(values[best.number])}."
    return f"{told} The study has one value for each trial and no seeds, which says nothing about chance."


def _named(trial: TrialResult) -> str:
    values = values_text(trial)
    return f"trial {trial.number}" + (f" ({values})" if values else "")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
