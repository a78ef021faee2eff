"""What a search found: every trial with every seed's score, the best one, tables and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from .comparison import Sample
from .faults import whole
from .records import failure_reason, seed_records, status_of
from .replicates import still_in


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
    """

    number: int
    values: Mapping[str, Any]
    status: str
    reason: str = ""
    seeds: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    race: tuple[int, ...] = ()

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


def read_trial(frozen: FrozenTrial, race: Mapping[int, Mapping[str, Any]] | None = None) -> TrialResult:
    """The result of one trial of the study, with the seeds that a race added to it."""
    race = race or {}
    return TrialResult(
        frozen.number,
        dict(frozen.params),
        status_of(frozen),
        failure_reason(frozen),
        {**dict(sorted(seed_records(frozen).items())), **race},
        tuple(race),
    )


def best_trial(trials: Sequence[TrialResult], direction: str) -> TrialResult | None:
    """The completed trial with the best mean; None where none is completed.

    After a race it is the best of those that it left, by their scores in the race.
    """
    done = [t for t in trials if t.status == "completed"]
    if racing := {t.number: t.scores(race=True) for t in done if t.race}:
        left = still_in(racing, direction)
        done = [t for t in done if t.number in left]
    if not done:
        return None
    best = max if direction == "max" else min
    return best(done, key=lambda t: float(np.mean(list(t.scores(race=bool(racing)).values()))))


def best_per_cell(
    trials: Sequence[TrialResult], keys: Sequence[str], direction: str
) -> dict[tuple[Any, ...], TrialResult]:
    """The best completed trial for each combination of the hyperparameters `keys`."""
    cells: dict[tuple[Any, ...], list[TrialResult]] = {}
    for trial in trials:
        cells.setdefault(tuple(trial.values.get(k) for k in keys), []).append(trial)
    best = {cell: best_trial(group, direction) for cell, group in cells.items()}
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
                "reason": t.reason,
                "hyperparameters": dict(t.values),
                "mean": _or_none(t.sample.mean),
                "std": _or_none(t.sample.std),
                "interval_95": [_or_none(v) for v in t.sample.interval()],
                "n": t.sample.n,
                "seeds": {str(seed): dict(record) for seed, record in t.seeds.items()},
            }
            for t in trials
        ],
    }


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; NaN, which JSON lacks, becomes null."""
    with whole(path) as partial:
        partial.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _finite(v) for k, v in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(v) for v in content]
    if isinstance(content, float):
        return _or_none(content)
    return content
