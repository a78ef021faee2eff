"""What a search found: every trial with every seed's score, the best one, tables and JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from scipy import stats

from .records import failure_reason, seed_records

_STATUS = {
    TrialState.COMPLETE: "completed",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True)
class Sample:
    """Scores of one setting over seeds, and what they say of its mean.

    Example:

    >>> Sample((0.9, 0.92, 0.94)).describe()
    '0.920 ± 0.020 (n=3)'
    """

    scores: tuple[float, ...]

    @property
    def n(self) -> int:
        """The number of seeds."""
        return len(self.scores)

    @property
    def mean(self) -> float:
        """The mean; NaN of no score."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    @property
    def std(self) -> float:
        """The standard deviation (n - 1 in the denominator); NaN below two scores."""
        return float(np.std(self.scores, ddof=1)) if self.n > 1 else float("nan")

    def interval(
        self, confidence: float = 0.95, within: tuple[float, float] = (-np.inf, np.inf)
    ) -> tuple[float, float]:
        """Student's t interval for the mean, cut to what the metric can be; (NaN, NaN) below two scores."""
        if self.n < 2:
            return float("nan"), float("nan")
        half = stats.t.ppf((1 + confidence) / 2, self.n - 1) * self.std / np.sqrt(self.n)
        return max(within[0], self.mean - float(half)), min(within[1], self.mean + float(half))

    def describe(self) -> str:
        """Mean ± standard deviation and n, in three digits."""
        spread = f" ± {self.std:.3f}" if self.n > 1 else ""
        return f"{self.mean:.3f}{spread} (n={self.n})"


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        number: Its number in the study, from 0.
        values: Its hyperparameters.
        status: "completed", "failed" or "running" (interrupted; a resumed search finishes it).
        reason: Why it failed.
        seeds: The record of each seed: "score" (the objective at the best epoch), "best_epoch",
            "epochs", "seconds", "curves" and, where there is test data, "test".
    """

    number: int
    values: Mapping[str, Any]
    status: str
    reason: str = ""
    seeds: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

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
        tests = (record.get("test", {}) for record in self.seeds.values())
        return Sample(tuple(test[metric] for test in tests if metric in test))


def read_trial(frozen: FrozenTrial) -> TrialResult:
    """The result of one trial of the study."""
    return TrialResult(
        frozen.number,
        dict(frozen.params),
        _STATUS[frozen.state],
        failure_reason(frozen),
        dict(sorted(seed_records(frozen).items())),
    )


def best_trial(trials: Sequence[TrialResult], direction: str) -> TrialResult | None:
    """The completed trial with the best mean; None where none is completed."""
    done = [t for t in trials if t.status == "completed"]
    if not done:
        return None
    return (max if direction == "max" else min)(done, key=lambda t: t.sample.mean)


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
    partial = path.with_name(f"partial.{path.name}")
    partial.write_text(json.dumps(_finite(content), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)


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
