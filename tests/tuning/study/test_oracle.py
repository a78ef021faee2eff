"""The oracle of a plain KerasTuner tuner: its samplers, its grid, and its failed trials."""

from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.study.attributes import failure_reason
from optuna.trial import TrialState

from keras_initx import InitxError
from tests.tuning.study.plain_tuner import PlainTuner, a_number, a_range, conditional, numbers, run, values_of

pytestmark = pytest.mark.one_backend


class TestPlainTuner:
    @pytest.mark.parametrize("sampler", ["tpe", "random", optuna.samplers.RandomSampler])
    def test_draws_values_of_the_declared_ranges_and_types(self, tmp_path: Path, sampler: Any) -> None:
        if not isinstance(sampler, str):
            sampler = sampler(seed=0)
        seen = run(tmp_path, a_number, numbers, trials=15, sampler=sampler).seen
        assert len(seen) == 15
        for values in seen:
            assert -1 <= values["x"] <= 1
            assert 1e-4 <= values["rate"] <= 1e-1
            assert values["half"] in (0.0, 0.5, 1.0)
            assert round(10 * values["tenth"]) in range(8)
            assert values["tenth"] == pytest.approx(round(10 * values["tenth"]) / 10)
            assert any(values["decade"] == pytest.approx(d) for d in (1e-3, 1e-2, 1e-1, 1.0))
            assert 3 <= values["width"] <= 9
            assert values["odd"] in (1, 5, 9)
            assert values["power"] in (2, 4, 8, 16, 32)
            assert 1 <= values["log"] <= 100
            assert values["name"] in ("a", "b")
            assert values["number"] in (1, 2)
            assert values["fixed"] == 7
            types = {name: type(value) for name, value in values.items()}
            assert types == {
                **dict.fromkeys(("x", "rate", "half", "tenth", "decade"), float),
                **dict.fromkeys(("width", "odd", "power", "log", "number", "fixed"), int),
                "name": str,
                "flag": bool,
            }
        assert len({values["x"] for values in seen}) == 15

    def test_conditional_values_only_where_they_are_active(self, tmp_path: Path) -> None:
        seen = run(tmp_path, lambda hp: 1.0, conditional, trials=25, sampler="random").seen
        kinds = set()
        for values in seen:
            expected = {"kind", "width"}
            if values["kind"] == "deep":
                expected = {"kind", "depth", "skip"} | ({"gain"} if values["skip"] else set())
            assert values.keys() == expected
            kinds.add(frozenset(expected))
        assert len(kinds) == 3

    @pytest.mark.parametrize("direction", ["min", "max"])
    def test_the_best_trial(self, tmp_path: Path, direction: str) -> None:
        objective = keras_tuner.Objective("score", direction)
        tuner = run(tmp_path, lambda hp: {"score": hp.get("x")}, numbers, objective=objective)
        drawn = sorted((v["x"] for v in tuner.seen), reverse=direction == "max")
        best = tuner.oracle.get_best_trials(5)
        assert [t.hyperparameters.get("x") for t in best] == drawn
        assert [t.score for t in best] == drawn
        assert tuner.get_best_hyperparameters()[0].get("x") == drawn[0]
        assert best[0].hyperparameters.get("fixed") == 7

    def test_new_oracle_in_the_same_folder_resumes(self, tmp_path: Path) -> None:
        # On disk, as by default.
        first = run(tmp_path, a_number, numbers, trials=3, storage=None)
        second = run(tmp_path, a_number, trials=5, storage=None)
        assert len(second.seen) == 2
        assert second.oracle.remaining_trials() == 0
        third = run(tmp_path, a_number, trials=5, storage=None)
        assert third.seen == []
        stored = [t.params["x"] for t in third.oracle.frozen_trials()]
        assert stored == [v["x"] for v in first.seen + second.seen]
        assert third.oracle.get_best_trials()[0].score == min(x**2 for x in stored)
        assert third.oracle.get_trial("0001").hyperparameters.get("x") == first.seen[1]["x"]

    def test_resumed_search_equals_an_uninterrupted_one(self, tmp_path: Path) -> None:
        # TPE starts to learn after ten trials.
        run(tmp_path / "two", a_number, numbers, trials=12)
        two = run(tmp_path / "two", a_number, trials=16).oracle
        one = run(tmp_path / "one", a_number, numbers, trials=16).oracle
        assert values_of(one) == values_of(two)

    @pytest.mark.parametrize("sampler", ["tpe", "random"])
    def test_equal_seeds_equal_searches(self, tmp_path: Path, sampler: str) -> None:
        # TPE starts to learn after ten trials.
        runs = [
            run(tmp_path / name, a_number, numbers, trials=13, sampler=sampler, seed=seed).seen
            for name, seed in (("a", 4), ("b", 4), ("c", 5))
        ]
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]

    @pytest.mark.parametrize("sampler", ["tpe", "random"])
    def test_searches_of_neighbouring_seeds_share_no_values(self, tmp_path: Path, sampler: str) -> None:
        # With the sum of seed and number, each search would repeat the next one, shifted by a trial.
        drawn = [
            values["x"]
            for seed in range(6)
            for values in run(
                tmp_path / str(seed), a_number, a_range, trials=6, sampler=sampler, seed=seed
            ).seen
        ]
        assert len(drawn) == len(set(drawn)) == 36

    def test_without_a_seed_the_study_stores_a_drawn_one(self, tmp_path: Path) -> None:
        seen = [run(tmp_path / n, a_number, a_range, trials=3, seed=None).seen for n in ("a", "b")]
        assert len({values["x"] for values in seen[0] + seen[1]}) == 6
        drawn = run(tmp_path / "a", a_number, trials=5, seed=None).oracle
        whole = run(tmp_path / "c", a_number, a_range, trials=5, seed=drawn.seed).oracle
        assert values_of(drawn) == values_of(whole)

    def test_unknown_sampler_suggests_the_nearest(self) -> None:
        with pytest.raises(InitxError, match=r"^`tuner` 'radnom' is not known\. Did you mean 'random'\?"):
            OptunaOracle(sampler="radnom")

    def test_without_a_limit_it_runs_until_it_is_stopped(self, tmp_path: Path) -> None:
        def score(hp: Any) -> float:
            if len(tuner.seen) > 6:
                raise KeyboardInterrupt
            return 1.0

        tuner = PlainTuner(OptunaOracle(max_trials=None), tmp_path, score, numbers)
        tuner.oracle.verbose = 0
        with pytest.raises(KeyboardInterrupt):
            tuner.search()
        assert tuner.oracle.remaining_trials() is None
        assert sum(t.state.is_finished() for t in tuner.oracle.frozen_trials()) == 6


class TestFailures:
    # Before it asks the oracle, KerasTuner takes the best of all reported values with NumPy.
    @pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")
    def test_objective_that_is_nan(self, tmp_path: Path) -> None:
        scores = iter([1.0, float("nan"), 2.0])
        tuner = run(tmp_path, lambda hp: next(scores), a_range, trials=3)
        states = [t.state for t in tuner.oracle.frozen_trials()]
        assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
        assert "default_objective is nan" in failure_reason(tuner.oracle.frozen_trials()[1])
        assert tuner.oracle.get_trial("0001").status == "FAILED"
        assert len(tuner.oracle.get_best_trials(9)) == 2

    def test_trial_that_raises(self, tmp_path: Path) -> None:
        def score(hp: Any) -> float:
            if next(order) == 1:
                raise ValueError("no such thing")
            return 1.0

        order = iter(range(9))
        tuner = run(tmp_path, score, a_range, trials=3)
        frozen = tuner.oracle.frozen_trials()
        assert [t.state.name for t in frozen] == ["COMPLETE", "FAIL", "COMPLETE"]
        assert [failure_reason(t) for t in frozen] == ["", "ValueError: no such thing", ""]
        # Another process reads the error from the study.
        again = run(tmp_path, score, trials=3).oracle
        assert again.get_trial("0001").message == "ValueError: no such thing"

    def test_three_in_a_row_end_the_search(self, tmp_path: Path) -> None:
        def score(hp: Any) -> float:
            if next(order) in (0, 1, 3, 4, 5):
                raise ValueError("broken")
            return 1.0

        order = iter(range(9))
        oracle = OptunaOracle(max_trials=9)
        tuner = PlainTuner(oracle, tmp_path, score, a_range)
        oracle.verbose = 0
        with pytest.raises(RuntimeError, match="consecutive failures exceeded the limit of 3") as caught:
            tuner.search()
        assert str(caught.value).endswith(
            " Trial 0003 failed first: ValueError: broken. Correct it, and resume the search."
        )
        assert [t.state.name for t in oracle.frozen_trials()] == ["FAIL", "FAIL", "COMPLETE", *["FAIL"] * 3]


def test_a_search_that_finds_all_trials_finished_says_so(tmp_path: Path, capsys: Any) -> None:
    tuner = run(tmp_path, lambda hp: 1.0, a_range, trials=2, storage=None)
    for again in (tuner, PlainTuner(OptunaOracle(max_trials=2), tmp_path, lambda hp: 1.0, a_range)):
        again.oracle.verbose = 1
        capsys.readouterr()
        again.search()
        assert capsys.readouterr().out == "Nothing to run: every trial of the study is finished (2 in all).\n"
