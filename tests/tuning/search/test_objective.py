"""Test that an objective trains the same trials as a search, whatever drives the Optuna study."""

import pickle
from pathlib import Path
from typing import Any

import joblib
import optuna
import pytest
from keras_initx.tuning import SearchSpace, Stopping
from keras_initx.tuning.search.objective import _TUNERS
from keras_initx.tuning.study import results_of, seed_records

from keras_initx import InitxError
from tests.support.objectives import Make, scores, study_of


def without_times(records: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {seed: {k: v for k, v in record.items() if k != "seconds"} for seed, record in records.items()}


def test_the_records_are_those_of_a_search(make: Make, quick: Any, pairs: Any) -> None:
    goal, values = make(), [{"initializer": "auto"}, {"initializer": "own"}]
    study = study_of(goal, values)
    study.optimize(goal, n_trials=2)
    result = quick(space=SearchSpace(["auto", "own", "zeros"]), enqueue=values)
    for mine, trial in zip(study.trials, result.trials, strict=True):
        assert without_times(seed_records(mine)) == without_times(dict(trial.seeds))
        assert mine.value == pytest.approx(trial.sample.mean)
    accuracy = goal.best_model(study).evaluate(*pairs[1], verbose=0, return_dict=True)["accuracy"]
    assert accuracy == pytest.approx(max(results_of(study)[study.best_trial.number].scores().values()))


def test_what_ends_early_is_pruned_in_the_study(make: Make, recorder: Any) -> None:
    observer = recorder()
    goal = make(observers=[observer])
    study = study_of(goal, [{"initializer": "zeros"}])
    study.optimize(goal, n_trials=1)
    (trial,) = results_of(study)
    assert (trial.status, trial.seeds) == ("screened", {})
    assert "symmetric" in trial.reason
    assert observer.ended == ["screened"]


@pytest.mark.one_backend
def test_the_pruner_of_the_study_sees_every_epoch(make: Make) -> None:
    class Third(optuna.pruners.BasePruner):
        def prune(self, study: Any, trial: Any) -> bool:
            return trial.last_step == 2

    goal = make()
    study = study_of(goal, [{"initializer": "auto"}], pruner=Third())
    study.optimize(goal, n_trials=1)
    (trial,) = study.trials
    # Two epochs of the first seed, and one of the second.
    assert sorted(trial.intermediate_values) == [0, 1, 2]
    assert trial.state.name == "PRUNED"
    assert list(seed_records(trial)) == [0]
    curve = trial.user_attrs["seed_0"]["curves"]["val_accuracy"]
    assert [trial.intermediate_values[n] for n in (0, 1)] == pytest.approx(curve)


@pytest.mark.one_backend
class TestOtherPrograms:
    def test_values_without_a_study_give_the_same_score(self, make: Make) -> None:
        goal = make()
        study = study_of(goal, [{"initializer": "auto"}])
        study.optimize(goal, n_trials=1)
        assert goal.run({"initializer": "auto"}, "of_ray") == study.best_value
        assert goal(optuna.trial.FixedTrial({"initializer": "auto"})) == study.best_value
        assert goal.load_model("of_ray").count_params() == 30

    def test_a_copy_in_this_process_shares_the_compiled_model(self, make: Make) -> None:
        goal = make(epochs=1, seeds=1)
        score = goal.run({"initializer": "auto"}, "a")
        (tuner, *_) = _TUNERS[goal._key]
        copy = pickle.loads(pickle.dumps(joblib.wrap_non_picklable_objects(goal)))
        assert copy.run({"initializer": "auto"}, "b") == score
        assert _TUNERS[goal._key][0] is tuner

    def test_threads_train_one_after_another(self, make: Make, tmp_path: Path) -> None:
        goal = make(epochs=1)
        study = study_of(goal, [{"initializer": "auto"}, {"initializer": "own"}])
        study.optimize(goal, n_trials=2, n_jobs=2)
        alone = study_of(goal, [{"initializer": "auto"}, {"initializer": "own"}])
        alone.optimize(make(epochs=1, results=tmp_path / "alone"), n_trials=2)
        assert scores(study) == scores(alone)


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stopping": Stopping(pruner="median")}, "`pruner` must be None or .wilcoxon. .*create_study"),
        ({"results": 3}, "`results` must be the path of a folder"),
        ({"epochs": 0}, "`epochs` must be an integer >= 1"),
        ({"validation_dat": 3}, "`validation_dat` is not an argument of `fit`"),
        ({"objective": "val_acc"}, "`objective` must be a metric"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused(make: Make, tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InitxError, match=rf"^{message}"):
        make(**options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.one_backend
def test_a_study_of_the_opposite_direction_is_refused(make: Make) -> None:
    study = optuna.create_study()
    with pytest.raises(InitxError, match=r"^`direction` must be 'maximize', got 'minimize'\."):
        study.optimize(make(), n_trials=1)


@pytest.mark.one_backend
def test_a_target_is_minimized(make: Make) -> None:
    goal = make(stopping=Stopping(target=2.0), seeds=1)
    assert (goal.direction, goal.name) == ("minimize", "epochs to val_accuracy 2")
    # An accuracy of 2 is never reached.
    assert goal.run({"initializer": "own"}, "a") == 3
