"""Describe the lead of the best trial over the next one, with its interval."""

from collections.abc import Sequence
from typing import Any

from ..stats import LEVEL, level_of, paired
from ..study import TO_TARGET, TrialResult, best_per_cell, best_trial, raced
from .tables import values_text


def describe_lead(trials: Sequence[TrialResult], objective: Any) -> str:
    """Compare the best trial with the second best in one sentence; "" without two seeds in common.

    After a race the sentence compares the scores of the race. Otherwise it compares test scores, which
    chose neither trial; without test data, the scores that chose both, which flatter the lead. For a target
    that no run reached, the sentence states that instead.

    Args:
        trials: All trials of a search.
        objective: Has the `name` and the `direction` ("max" or "min") of the metric.
    """
    best = best_trial(trials, objective.direction)
    if best is None:
        return ""
    if missed := _missed_target(trials, objective.name):
        return missed
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
            return f"The best two in the race: at most {fewest} seeds each, which is too few to decide."
    elif all(tests.values()):
        source, scores = "on the test data", tests
    first, last = scores.values()
    if len(first.keys() & last.keys()) < 2:
        return ""
    pair = paired(scores, objective.direction, level, points=objective.name.endswith("accuracy"))
    return f"The best two {source}: {pair.describe()}"


def describe_lead_by(trials: Sequence[TrialResult], name: str, objective: Any) -> str:
    """Compare the best trials of the best two values of one hyperparameter on the test data, seed by seed.

    The test data chose neither trial. The result is "" unless two values have a trial with two seeds.

    Args:
        trials: All trials of a search.
        name: The hyperparameter, such as "initializer".
        objective: As in `describe_lead`.
    """
    cells = best_per_cell(trials, (name,), objective.direction)
    sign = -1 if objective.direction == "max" else 1
    ranked = sorted(cells.values(), key=lambda trial: sign * trial.sample.mean)
    if len(ranked) < 2 or min(trial.sample.n for trial in ranked[:2]) < 2:
        return ""
    metric = objective.name.removeprefix("val_")
    scores = {str(trial.values[name]): trial.test_scores(metric) for trial in ranked[:2]}
    pair = paired(scores, objective.direction, points=metric.endswith("accuracy"))
    return f"The best two {name}s on the test data: {pair.describe()}"


def _missed_target(trials: Sequence[TrialResult], objective: str) -> str:
    """Return a sentence if no run of a search for a target reached it; "" otherwise."""
    goal = objective.removeprefix(TO_TARGET)
    records = [record for trial in trials for record in trial.seeds.values()]
    # A run that misses the target scores one epoch more than it may have, and one that reaches it ends there.
    if goal == objective or any(record["score"] <= record["epochs"] for record in records):
        return ""
    return f"No run reached {goal}, so no trial is better than another: set a nearer target or more epochs."
