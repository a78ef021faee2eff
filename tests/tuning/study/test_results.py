"""Statistics over the seeds of a trial, the best trial, and the JSON file."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_initx.tuning.storage.json_files import write_json
from keras_initx.tuning.study.results import Sample, TrialResult, as_json, best_per_cell, best_trial
from scipy import stats

pytestmark = pytest.mark.one_backend

SCORES = (0.91, 0.95, 0.87, 0.9)


def trial(number: int, *scores: float, status: str = "completed", **values: Any) -> TrialResult:
    return TrialResult(number, values, status, seeds={i: {"score": s} for i, s in enumerate(scores)})


class TestSample:
    @pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
    @pytest.mark.parametrize("scores", [SCORES, SCORES[:2]])
    def test_against_scipy(self, scores: tuple[float, ...], confidence: float) -> None:
        sample = Sample(scores)
        assert sample.n == len(scores)
        assert sample.mean == pytest.approx(sum(scores) / len(scores))
        assert sample.std == pytest.approx(stats.tstd(scores))
        expected = stats.t.interval(confidence, len(scores) - 1, loc=np.mean(scores), scale=stats.sem(scores))
        assert sample.interval(confidence) == pytest.approx(expected)

    def test_by_hand(self) -> None:
        # Two scores one apart: std = 1 / sqrt(2), and t(0.975, 1) = 12.706.
        low, high = Sample((1.0, 2.0)).interval()
        assert (low, high) == pytest.approx((1.5 - 6.3531, 1.5 + 6.3531), abs=1e-4)
        assert Sample((1.0, 2.0)).interval() == Sample((1.0, 2.0)).interval(0.95)

    def test_one_score_has_no_spread(self) -> None:
        sample = Sample((0.5,))
        assert sample.mean == 0.5
        assert all(map(math.isnan, (sample.std, *sample.interval())))
        assert sample.describe() == "0.500 (n=1)"

    def test_no_score(self) -> None:
        assert all(map(math.isnan, (Sample(()).mean, Sample(()).std, *Sample(()).interval())))

    def test_describe(self) -> None:
        assert Sample((0.9, 0.92, 0.94)).describe() == "0.920 ± 0.020 (n=3)"


class TestBest:
    TRIALS = (
        trial(0, 0.5, 0.7, a="x", b=1),
        trial(1, 0.9, a="x", b=2),
        trial(2, 0.1, a="y", b=1),
        trial(3, 0.3, 0.2, a="x", b=1),
        trial(4, 1.0, status="failed", a="y", b=2),
        trial(5, 0.0, status="running", a="y", b=1),
    )

    @pytest.mark.parametrize(("direction", "number"), [("max", 1), ("min", 2)])
    def test_best_trial_is_the_completed_one_with_the_best_mean(self, direction: str, number: int) -> None:
        best = best_trial(self.TRIALS, direction)
        assert best is not None
        assert best.number == number

    def test_no_completed_trial(self) -> None:
        assert best_trial(self.TRIALS[4:], "max") is None
        assert best_trial((), "max") is None

    @pytest.mark.parametrize(
        ("direction", "expected"),
        [("max", {("x", 1): 0, ("x", 2): 1, ("y", 1): 2}), ("min", {("x", 1): 3, ("x", 2): 1, ("y", 1): 2})],
    )
    def test_best_per_cell(self, direction: str, expected: dict[Any, int]) -> None:
        cells = best_per_cell(self.TRIALS, ("a", "b"), direction)
        assert {cell: t.number for cell, t in cells.items()} == expected

    def test_trial_without_the_hyperparameter_has_its_own_cell(self) -> None:
        cells = best_per_cell((trial(0, 1.0, a="x"), trial(1, 2.0)), ("a",), "max")
        assert {cell: t.number for cell, t in cells.items()} == {("x",): 0, (None,): 1}

    def test_test_sample(self) -> None:
        records = {
            0: {"score": 1.0, "test": {"loss": 0.5}},
            1: {"score": 1.0, "test": {"loss": 0.7}},
            2: {"score": 0},
        }
        result = TrialResult(3, {}, "completed", seeds=records)
        assert result.test_sample("loss") == Sample((0.5, 0.7))
        assert result.test_sample("accuracy") == Sample(())
        assert result.name == "trial_0003"


class TestJson:
    def test_a_search(self, tmp_path: Path) -> None:
        failed = TrialResult(1, {"a": "y"}, "failed", "ValueError: no")
        write_json(tmp_path / "a.json", as_json([trial(0, 0.5, 0.75, a="x"), failed], {"epochs": 3}, "max"))
        read = json.loads((tmp_path / "a.json").read_text())
        assert (read["settings"], read["best_trial"]) == ({"epochs": 3}, 0)
        one, two = read["trials"]
        assert one["seeds"] == {"0": {"score": 0.5}, "1": {"score": 0.75}}
        assert (one["mean"], one["n"], one["hyperparameters"]) == (0.625, 2, {"a": "x"})
        assert one["std"] == pytest.approx(np.std([0.5, 0.75], ddof=1))
        assert one["interval_95"] == pytest.approx(Sample((0.5, 0.75)).interval())
        assert (two["status"], two["reason"], two["mean"], two["std"]) == (
            "failed",
            "ValueError: no",
            None,
            None,
        )
        assert two["interval_95"] == [None, None]


def test_trial_without_seeds_is_never_the_best() -> None:
    trials = (TrialResult(0, {}, "completed"), trial(1, 0.9), trial(2, 0.8))
    for direction, number in (("max", 1), ("min", 2)):
        best = best_trial(trials, direction)
        assert best is not None
        assert best.number == number
    assert best_trial(trials[:1], "max") is None


def raced(number: int, *scores: float, out: str = "", cell: str = "x") -> TrialResult:
    """A trial whose seeds, from 2 on, all come from the race."""
    seeds = {2 + i: {"score": s} for i, s in enumerate(scores)}
    return TrialResult(number, {"a": cell}, "completed", seeds=seeds, race=tuple(seeds), out=out)


class TestBestOfARace:
    @pytest.mark.parametrize("direction", ["max", "min"])
    def test_interrupted_round_decides_nothing(self, direction: str) -> None:
        sign = 1 if direction == "max" else -1
        # Better on every seed that both have.
        ahead = raced(0, *(sign * v for v in (0.9, 0.9, 0.6)))
        behind = raced(1, *(sign * v for v in (0.89, 0.89)))
        assert ahead.sample.mean * sign < behind.sample.mean * sign
        best = best_trial((behind, ahead), direction)
        assert best is not None
        assert best.number == 0

    def test_trial_that_left_the_race_counts_in_its_level(self) -> None:
        # Among three trials, the last one is beaten after three seeds; among four, it is not, and only these
        # three seeds are common to all.
        three = (raced(0, 0.9, 1.0, 1.2, 0.0, 0.0), raced(1, 0.8, 0.9, 1.3, 1.0, 1.0), raced(2, 0, 0, 0))
        failed = raced(3, 0.0, out="seed 3: failed", cell="y")
        for trials, number in ((three, 1), ((*three, failed), 0)):
            best = best_trial(trials, "max")
            assert best is not None
            assert best.number == number
            assert best_per_cell(trials, ("a",), "max")["x",].number == number
