"""A search proposes every point once, until nothing is left."""

from pathlib import Path
from typing import Any

import keras_tuner
import optuna
import pytest
from keras_initx.tuning import OptunaOracle
from keras_initx.tuning.space.to_optuna import grid_of
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from keras_initx import InitxError
from tests.tuning.study.plain_tuner import (
    POINTS,
    PlainTuner,
    a_number,
    conditional,
    discrete,
    numbers,
    run,
    values_of,
)

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


def revising(change: Any) -> type[OptunaOracle]:
    """Return an oracle whose `populate_space` changes the answer of its base class."""

    class Revising(OptunaOracle):
        def populate_space(self, trial_id: str) -> dict[str, Any]:
            answer = super().populate_space(trial_id)
            change(answer)
            return answer

    return Revising


def revised(folder: Path, change: Any, declare: Any, trials: int = 6, **options: Any) -> PlainTuner:
    oracle = revising(change)(max_trials=trials, **{"storage": InMemoryStorage(), **options})
    oracle.verbose = 0
    tuner = PlainTuner(oracle, folder, lambda hp: 1.0, declare)
    tuner.search()
    return tuner


class TestPopulateSpace:
    SAMPLERS = ("tpe", "cmaes", keras_tuner.oracles.RandomSearchOracle(seed=0))

    @pytest.mark.parametrize("repeats", [False, True])
    @pytest.mark.parametrize("sampler", SAMPLERS)
    def test_a_subclass_decides_on_the_values(self, tmp_path: Path, sampler: Any, repeats: bool) -> None:
        change = lambda answer: answer["values"].update(x=0.25, name="b")  # noqa: E731
        tuner = revised(tmp_path, change, numbers, sampler=sampler, repeats=repeats)
        assert [(v["x"], v["name"]) for v in tuner.seen] == [(0.25, "b")] * 6
        assert len({v["rate"] for v in tuner.seen}) == 6
        # The sampler learns from the values that were used.
        assert {t.params["x"] for t in tuner.oracle.frozen_trials()} == {0.25}

    def test_values_of_another_condition_are_drawn(self, tmp_path: Path) -> None:
        change = lambda answer: answer.update(values={"kind": "deep", "skip": True})  # noqa: E731
        tuner = revised(tmp_path, change, conditional, sampler="random")
        assert all(v["kind"] == "deep" and v["skip"] and "width" not in v for v in tuner.seen)
        assert len({v["gain"] for v in tuner.seen}) == 6

    def test_it_may_end_the_search(self, tmp_path: Path) -> None:
        left = [1, 2]
        stop = lambda answer: left.pop() if left else answer.update(status="STOPPED")  # noqa: E731
        tuner = revised(tmp_path, stop, numbers)
        assert len(tuner.seen) == 2
        assert tuner.oracle.remaining_trials() == 0

    def test_a_candidate_of_the_user_is_not_changed(self, tmp_path: Path) -> None:
        change = lambda answer: answer["values"].update(x=0.25)  # noqa: E731
        tuner = revised(tmp_path, change, numbers, trials=2, enqueue=[{"x": 0.5}])
        assert [values["x"] for values in tuner.seen] == [0.5, 0.25]

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ({"values": {"other": 1}}, "has 'other', which is not a hyperparameter"),
            ({"values": {"x": 7.0}}, "must give 'x' .*, got 7.0"),
            ({"status": "IDLE"}, "must return the status RUNNING or STOPPED, got 'IDLE'"),
        ],
    )
    def test_answer_that_cannot_be_used(self, tmp_path: Path, answer: Any, message: str) -> None:
        storage = InMemoryStorage()
        with pytest.raises(InitxError, match=f"^`populate_space` {message}"):
            revised(tmp_path, lambda drawn: drawn.update(answer), numbers, storage=storage)
        # No trial is left that counts, or that another process would wait for.
        (study,) = optuna.get_all_study_summaries(storage)
        trials = optuna.load_study(study_name=study.study_name, storage=storage).trials
        assert [trial.state.is_finished() for trial in trials] == [True]

    def test_only_for_the_trial_that_begins(self) -> None:
        with pytest.raises(InitxError, match=r"^`trial_id` .*, got '0003'\. Call create_trial"):
            OptunaOracle(storage=InMemoryStorage()).populate_space("0003")
