"""A search proposes every point once, until nothing is left."""

from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.space.to_optuna import grid_of
from optuna.trial import TrialState

from keras_initx import InitxError
from tests.tuning.study.plain_tuner import POINTS, a_number, conditional, discrete, numbers, run, values_of

pytestmark = pytest.mark.one_backend


def test_nothing_remains_once_every_combination_was_tried(tmp_path: Path) -> None:
    """KerasTuner's chief waits until nothing remains."""

    def kinds(hp: Any) -> None:
        hp.Choice("kind", ["a", "b"])

    def more(hp: Any) -> None:
        kinds(hp)
        hp.Choice("size", [1, 2])

    tuner = run(tmp_path, lambda hp: 1.0, kinds, trials=9, sampler="random")
    assert len(tuner.seen) == 2
    assert tuner.oracle.remaining_trials() == 0
    # Another process of the search sees it too, until the space grows.
    assert run(tmp_path, lambda hp: 1.0, kinds, trials=9, sampler="random").oracle.remaining_trials() == 0
    larger = run(tmp_path, lambda hp: 1.0, more, trials=9, sampler="random")
    assert len(larger.seen) >= 2
    assert larger.oracle.remaining_trials() == 0


class TestGrid:
    def test_visits_every_point_once(self, tmp_path: Path) -> None:
        tuner = run(tmp_path, lambda hp: 1.0, discrete, trials=None, sampler="grid")
        assert len(tuner.seen) == POINTS == len(set(values_of(tuner.oracle)))

    def test_max_trials_cuts_it_short(self, tmp_path: Path) -> None:
        tuner = run(tmp_path, lambda hp: 1.0, discrete, trials=5, sampler="grid")
        assert len(set(values_of(tuner.oracle))) == len(tuner.seen) == 5

    @pytest.mark.parametrize("at", [1, 6, POINTS])
    def test_visits_every_point_once_after_an_interruption(self, tmp_path: Path, at: int) -> None:
        def score(hp: Any) -> float:
            calls.append(1)
            if len(calls) == at:
                raise KeyboardInterrupt
            return 1.0

        calls: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, score, discrete, trials=None, sampler="grid")
        second = run(tmp_path, score, discrete, trials=None, sampler="grid")
        points = values_of(second.oracle)
        assert len(points) == len(set(points)) == POINTS
        assert len(calls) == POINTS + 1
        assert {t.state for t in second.oracle.frozen_trials()} == {TrialState.COMPLETE}

    def test_point_of_a_trial_without_values_is_not_lost(self, tmp_path: Path, monkeypatch: Any) -> None:
        # The process dies after Optuna has chosen the point and before it has stored its values.
        def dies(*args: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(OptunaOracle, "_suggest", dies)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, lambda hp: 1.0, discrete, trials=None, sampler="grid")
        points = values_of(run(tmp_path, lambda hp: 1.0, discrete, trials=None, sampler="grid").oracle)
        assert len(points) == len(set(points)) == POINTS

    def test_a_space_that_grows_is_an_error_and_not_a_grid_with_gaps(self, tmp_path: Path) -> None:
        def score(hp: Any) -> float:
            return float(hp.Choice("first", [1, 2]) + hp.Choice("late", [0, 10]))

        def one(hp: Any) -> None:
            hp.Choice("first", [1, 2])

        with pytest.raises(InitxError, match=r"^`tuner` .*grown by late after.*declare_hyperparameters"):
            run(tmp_path / "grows", score, one, trials=None, sampler="grid")
        declared = run(tmp_path / "declared", score, score, trials=None, sampler="grid")
        assert len(declared.seen) == 4 == len(set(values_of(declared.oracle)))

    def test_resumes_without_a_seed(self, tmp_path: Path) -> None:
        for trials in (4, 8, None):
            oracle = run(tmp_path, lambda hp: 1.0, discrete, trials=trials, sampler="grid", seed=None).oracle
        points = values_of(oracle)
        assert len(points) == len(set(points)) == POINTS

    def test_failed_point_is_not_visited_again(self, tmp_path: Path) -> None:
        def score(hp: Any) -> float:
            return float("nan") if hp.get("name") == "b" and hp.get("flag") else 1.0

        tuner = run(tmp_path, score, discrete, trials=None, sampler="grid", max_consecutive_failed_trials=99)
        assert len(set(values_of(tuner.oracle))) == len(tuner.seen) == POINTS

    def test_refuses_a_range(self, tmp_path: Path) -> None:
        message = (
            r"^`tuner='grid'` cannot search 'x', which is a continuous range\. "
            r"Pass a list of values for x, or use 'random' or 'tpe'\.$"
        )
        with pytest.raises(InitxError, match=message):
            run(tmp_path, a_number, numbers, sampler="grid")

    def test_refuses_a_condition(self, tmp_path: Path) -> None:
        message = r"'width', which depends on another hyperparameter\. Use 'random' or 'tpe'\.$"
        with pytest.raises(InitxError, match=message):
            run(tmp_path, lambda hp: 1.0, conditional, sampler="grid")

    def test_leaves_fixed_values_out(self) -> None:
        hp = keras_tuner.HyperParameters()
        hp.Fixed("fixed", 3)
        hp.Float("half", 0.0, 1.0, step=0.5)
        assert grid_of(hp) == {"half": [0.0, 0.5, 1.0]}
