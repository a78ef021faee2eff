"""What a search found: every trial with every seed's score, the best one, tables and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from ..pruning import LayerStart, from_record
from ..stats import Sample, still_in
from ..storage import finite_or_none
from .attributes import START, failure_reason, seed_records, status_of


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        number: Its number in the study, from 0.
        values: Its hyperparameters.
        status: "completed", "failed", "screened" (ended before training, since it could not learn),
            "pruned" (ended during it, since others were better) or "running" (interrupted; a resumed
            search finishes it).
        reason: Why it failed or was ended.
        seeds: The record of each seed: "score" (the objective at the best epoch), "best_epoch",
            "epochs", "seconds", "curves" and, where there is test data, "test".
        race: Those of the seeds that it was given afterwards, as one of the best trials.
        out: Why such a seed failed, which puts it behind those that had none; "" where none did.
        start: Its layers before training, without histograms, by their depth from 1; of very many, some.
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
        """The score of each seed, or of those of the race only."""
        return {s: float(r["score"]) for s, r in self.seeds.items() if not race or s in self.race}

    @property
    def name(self) -> str:
        """The name of its folder, on disk and in TensorBoard."""
        return f"trial_{self.number:04d}"

    @property
    def sample(self) -> Sample:
        """The scores of all seeds."""
        return Sample(tuple(record["score"] for record in self.seeds.values()))

    def test_sample(self, metric: str) -> Sample:
        """The test metric of all seeds, each at its best epoch on the validation data."""
        return Sample(tuple(self.test_scores(metric).values()))

    def test_scores(self, metric: str) -> dict[int, float]:
        """The same for each seed."""
        tests = {seed: record.get("test", {}) for seed, record in self.seeds.items()}
        return {seed: test[metric] for seed, test in tests.items() if metric in test}


def read_trial(
    frozen: FrozenTrial, race: Mapping[int, Mapping[str, Any]] | None = None, out: str = ""
) -> TrialResult:
    """The result of one trial of the study, with the seeds that a race added to it."""
    race = race or {}
    return TrialResult(
        frozen.number,
        dict(frozen.params),
        status_of(frozen),
        failure_reason(frozen),
        {**dict(sorted(seed_records(frozen).items())), **race},
        tuple(race),
        out,
        from_record(frozen.user_attrs.get(START, ())),
    )


def best_trial(
    trials: Sequence[TrialResult], direction: str, of: Sequence[TrialResult] | None = None
) -> TrialResult | None:
    """The completed trial with the best mean; None where none is completed.

    After a race it is the best of those that it left, by the seeds of the race that all of them have, unless
    a trial that came later has a better mean over the seeds that both have. One with a failed seed comes
    after all others.

    Args:
        trials: The trials to choose among.
        direction: "max" or "min".
        of: All trials of the search; None where it is `trials`.
    """
    # A study that was read in has trials without seeds.
    done = [t for t in trials if t.status == "completed" and t.seeds]
    done = [t for t in done if not t.out] or done
    best = max if direction == "max" else min
    racing = {t.number: t.scores(race=True) for t in done if t.race}
    left = {n: racing[n] for n in still_in(racing, direction, raced(trials if of is None else of))}
    rest = [t for t in done if not t.race]
    if left:
        means = _means(left)
        winner = best((t for t in done if t.number in left), key=lambda t: means[t.number])
        rest = [t for t in rest if _is_better(t.scores(), winner.scores(), direction)] or [winner]
    return best(rest, key=lambda t: t.sample.mean, default=None)


def raced(trials: Sequence[TrialResult]) -> int:
    """How many trials have ever been in the race, those included that left it since a seed failed."""
    return sum(bool(t.race or t.out) for t in trials)


def _means(scores: Mapping[int, Mapping[int, float]]) -> dict[int, float]:
    """The mean of each trial over the seeds that all have: a round may have been interrupted."""
    common = set.intersection(*(set(s) for s in scores.values()))
    return {n: _mean({seed: s[seed] for seed in common or s}) for n, s in scores.items()}


def _mean(scores: Mapping[int, float]) -> float:
    return float(np.mean(list(scores.values())))


def _is_better(one: Mapping[int, float], two: Mapping[int, float], direction: str) -> bool:
    common = one.keys() & two.keys()
    if not common:
        return False
    lead = _mean({s: one[s] - two[s] for s in common})
    return lead > 0 if direction == "max" else lead < 0


def best_per_cell(
    trials: Sequence[TrialResult], keys: Sequence[str], direction: str
) -> dict[tuple[Any, ...], TrialResult]:
    """The best completed trial for each combination of the hyperparameters `keys`."""
    cells: dict[tuple[Any, ...], list[TrialResult]] = {}
    for trial in trials:
        cells.setdefault(tuple(trial.values.get(k) for k in keys), []).append(trial)
    best = {cell: best_trial(group, direction, of=trials) for cell, group in cells.items()}
    return {cell: trial for cell, trial in best.items() if trial is not None}


def as_json(trials: Sequence[TrialResult], settings: Mapping[str, Any], direction: str) -> dict[str, Any]:
    """All of a search as plain data: settings, trials with every seed, the number of the best."""
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
