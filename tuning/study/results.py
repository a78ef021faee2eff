"""The results of a search: every trial with its seeds, the best trial, and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from ..pruning import LayerStart, from_record
from ..stats import Sample, still_in
from ..storage import finite_or_none
from .attributes import START_ATTRIBUTE, failure_reason, searched_values, seed_records, status_of

TO_TARGET = "epochs to "
"""What the name of an objective starts with if a search minimizes the epochs until a metric has a value."""


@dataclass(frozen=True)
class TrialResult:
    """The result of one trial.

    Attributes:
        number: The trial's number in the study, from 0.
        values: The trial's hyperparameters.
        status: "completed", "failed", "screened" (ended before training, because it could not learn),
            "pruned" (ended during training, because other trials were better) or "running" (interrupted;
            a resumed search finishes it).
        reason: Why the trial failed or was ended early.
        seeds: The record of each seed: "score" (the objective at the best epoch), "best_epoch",
            "epochs", "seconds", "curves" and, if there is test data, "test".
        race: The seeds that the race added, because the trial was among the best.
        out: Why a seed of the race failed, which ranks the trial behind all others; "" if none failed.
        start: The layers before training, without histograms, by depth from 1. A very deep model has
            a selection of them.
    """

    number: int
    values: Mapping[str, Any]
    status: str
    reason: str = ""
    seeds: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    race: tuple[int, ...] = ()
    out: str = ""
    start: Mapping[int, LayerStart] = field(default_factory=dict)

    def scores(self, race: bool = False) -> dict[int, float]:
        """Return the score of each seed, or only of the seeds of the race."""
        return {s: float(r["score"]) for s, r in self.seeds.items() if not race or s in self.race}

    @property
    def name(self) -> str:
        """The name of the trial's folder, on disk and in TensorBoard."""
        return f"trial_{self.number:04d}"

    @property
    def sample(self) -> Sample:
        """The scores of all seeds."""
        return Sample(tuple(record["score"] for record in self.seeds.values()))

    def test_sample(self, metric: str) -> Sample:
        """Return the test metric of all seeds, each at its best epoch on the validation data."""
        return Sample(tuple(self.test_scores(metric).values()))

    def test_scores(self, metric: str) -> dict[int, float]:
        """Return the test metric of each seed, at its best epoch on the validation data."""
        metrics = {seed: record.get("test", {}) for seed, record in self.seeds.items()}
        return {seed: values[metric] for seed, values in metrics.items() if metric in values}


def read_trial(
    frozen: FrozenTrial, race: Mapping[int, Mapping[str, Any]] | None = None, out: str = ""
) -> TrialResult:
    """Return the result of one trial of the study, with the seeds that a race added to it."""
    race = race or {}
    return TrialResult(
        frozen.number,
        searched_values(frozen),
        status_of(frozen),
        failure_reason(frozen),
        {**dict(sorted(seed_records(frozen).items())), **race},
        tuple(race),
        out,
        from_record(frozen.user_attrs.get(START_ATTRIBUTE, ())),
    )


def best_trial(
    trials: Sequence[TrialResult], direction: str, of: Sequence[TrialResult] | None = None
) -> TrialResult | None:
    """Return the completed trial with the best mean, or None if no trial is completed.

    After a race, that is the best trial still in the race, compared over the seeds of the race that all of
    them have. A later trial wins if its mean is better over the seeds that both have. A trial with a failed
    seed comes last.

    Args:
        trials: The trials to choose among.
        direction: "max" or "min".
        of: All trials of the search; None if `trials` contains them all.
    """
    # An imported study has trials without seeds.
    completed = [t for t in trials if t.status == "completed" and t.seeds]
    completed = [t for t in completed if not t.out] or completed
    best = max if direction == "max" else min
    racing = {t.number: t.scores(race=True) for t in completed if t.race}
    contenders = {n: racing[n] for n in still_in(racing, direction, raced(trials if of is None else of))}
    rest = [t for t in completed if not t.race]
    if contenders:
        means = _means(contenders)
        winner = best((t for t in completed if t.number in contenders), key=lambda t: means[t.number])
        rest = [t for t in rest if _is_better(t.scores(), winner.scores(), direction)] or [winner]
    return best(rest, key=lambda t: t.sample.mean, default=None)


def raced(trials: Sequence[TrialResult]) -> int:
    """Return how many trials have been in the race, including trials that left it because a seed failed."""
    return sum(bool(t.race or t.out) for t in trials)


def _means(scores: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """Return each trial's mean over the seeds that all trials have: a round may have been interrupted."""
    common = set.intersection(*(set(s) for s in scores.values()))
    return {n: _mean({seed: s[seed] for seed in common or s}) for n, s in scores.items()}


def _mean(scores: Mapping[int, float]) -> float:
    return float(np.mean(list(scores.values())))


def _is_better(one: Mapping[int, float], two: Mapping[int, float], direction: str) -> bool:
    """Return whether `one` has a better mean than `two` over the seeds that both have."""
    common = one.keys() & two.keys()
    if not common:
        return False
    lead = _mean({s: one[s] - two[s] for s in common})
    return lead > 0 if direction == "max" else lead < 0


def best_per_cell(
    trials: Sequence[TrialResult], keys: Sequence[str], direction: str
) -> dict[tuple[Any, ...], TrialResult]:
    """Return the best completed trial for each combination of values of the hyperparameters `keys`."""
    cells: dict[tuple[Any, ...], list[TrialResult]] = {}
    for trial in trials:
        cells.setdefault(tuple(trial.values.get(k) for k in keys), []).append(trial)
    best = {cell: best_trial(group, direction, of=trials) for cell, group in cells.items()}
    return {cell: trial for cell, trial in best.items() if trial is not None}


def as_json(trials: Sequence[TrialResult], settings: Mapping[str, Any], direction: str) -> dict[str, Any]:
    """Return a search as plain data: settings, trials with every seed, and the number of the best trial."""
    best = best_trial(trials, direction)
    return {
        "settings": dict(settings),
        "best_trial": None if best is None else best.number,
        "trials": [
            {
                "number": t.number,
                "status": t.status,
                "reason": t.reason or t.out,
                "hyperparameters": dict(t.values),
                "mean": finite_or_none(t.sample.mean),
                "std": finite_or_none(t.sample.std),
                "interval_95": [finite_or_none(v) for v in t.sample.interval()],
                "n": t.sample.n,
                "seeds": {str(seed): dict(record) for seed, record in t.seeds.items()},
            }
            for t in trials
        ],
    }
