"""Test that an objective trains the same trials as a search, whatever drives the Optuna study."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import keras
import optuna
import pytest
from keras_initx.tuning import Execution, SearchSpace, Stopping, objective
from keras_initx.tuning.search.objective import _TUNERS
from keras_initx.tuning.study import results_of, seed_records

from keras_initx import InitxError

Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path, pairs: Any, small_model: Any) -> Iterator[Make]:
    """Make an objective of two seeds and two epochs without XLA, unless options differ."""

    def run(model: Any = None, **options: Any) -> Any:
        (x, y), validation = pairs
        defaults = {"epochs": 2, "seeds": 2, "batch_size": 16, "results": tmp_path / "goal"}
        defaults |= {
            "space": SearchSpace(["auto", "own", "zeros"]),
            "execution": Execution(jit_compile=False),
        }
        model = model or (lambda: small_model())
        return objective(model, x, y, validation_data=validation, **(defaults | options))

    yield run
    _TUNERS.clear()


def study_of(goal: Any, values: list[dict[str, Any]], **options: Any) -> optuna.Study:
    """Return a study in which the given values come first."""
    study = optuna.create_study(direction=goal.direction, **options)
    for one in values:
        study.enqueue_trial(one)
    return study


def scores(study: optuna.Study) -> list[dict[int, float]]:
    return [trial.scores() for trial in results_of(study)]


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
def test_a_hyperparameter_that_only_some_builds_declare_is_suggested(make: Make) -> None:
    def build(hp: Any) -> keras.Model:
        layers = [
            keras.layers.Dense(hp.Int(f"units_{n}", 2, 6), activation="tanh")
            for n in range(hp.Int("layers", 1, 3))
        ]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(2, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    goal = make(build, seeds=1, epochs=1, stopping=Stopping(screening=False))
    study = study_of(goal, [{"layers": 3, "units_2": 5}])
    study.optimize(goal, n_trials=1)
    (trial,) = study.trials
    assert trial.params.keys() == {"layers", "units_0", "units_1", "units_2", "initializer"}
    assert [layer.units for layer in goal.best_model(study).layers[:3]] == [
        trial.params[f"units_{n}"] for n in range(3)
    ]


@pytest.mark.one_backend
def test_the_same_values_run_on_fresh_seeds(make: Make) -> None:
    goal = make(epochs=1)
    study = study_of(goal, [{"initializer": "own"}] * 2)
    study.optimize(goal, n_trials=2)
    assert [list(s) for s in scores(study)] == [[0, 1], [1000, 1001]]


@pytest.mark.one_backend
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_trial_that_is_tried_again_keeps_its_seeds(make: Make, recorder: Any, tmp_path: Path) -> None:
    goal = make(observers=[recorder(after=1, error=RuntimeError)])
    # Called otherwise before Optuna 4.9.
    name = "RetryHeartbeatStaleTrialCallback"
    again = getattr(optuna.storages, name, None) or optuna.storages.RetryFailedTrialCallback
    study = study_of(goal, [{"initializer": "own"}])
    study.optimize(goal, n_trials=1, catch=(RuntimeError,))
    assert [t.state.name for t in study.trials] == ["FAIL"]
    again()(study, study.trials[0])
    observer = recorder()
    resumed = make(observers=[observer])
    study.optimize(resumed, n_trials=1)
    assert observer.seeds == [("0000", 1)]
    assert list(scores(study)[1]) == [0, 1]
    assert resumed.load_model(study.trials[1]).count_params() == 30
    assert [path.name for path in (tmp_path / "goal").glob("trial_*")] == ["trial_0000"]


@pytest.mark.one_backend
class TestOtherPrograms:
    def test_values_without_a_study_give_the_same_score(self, make: Make) -> None:
        goal = make()
        study = study_of(goal, [{"initializer": "auto"}])
        study.optimize(goal, n_trials=1)
        assert goal.run({"initializer": "auto"}, "of_ray") == study.best_value
        assert goal(optuna.trial.FixedTrial({"initializer": "auto"})) == study.best_value
        assert goal.load_model("of_ray").count_params() == 30

    def test_a_restart_under_the_same_name_finds_its_seeds(self, make: Make, recorder: Any) -> None:
        with pytest.raises(RuntimeError):
            make(observers=[recorder(after=1, error=RuntimeError)]).run({"initializer": "own"}, "a")
        observer = recorder()
        make(observers=[observer]).run({"initializer": "own"}, "a")
        assert observer.seeds == [("a", 1)]

    def test_names_with_slashes_may_be_nested(self, make: Make) -> None:
        goal = make(space=SearchSpace({"*/kernel": ["auto", "own"]}), seeds=1, epochs=1)
        study = optuna.create_study(direction="maximize")
        trial = study.ask()
        assert goal.suggest(trial) is None
        ((name, value),) = trial.params.items()
        assert "/" in name
        first, rest = name.split("/")
        assert goal.run({first: {rest: value}}, "a") == goal.run({name: value}, "b")

    def test_a_copy_in_this_process_shares_the_compiled_model(self, make: Make) -> None:
        goal = make(epochs=1, seeds=1)
        score = goal.run({"initializer": "auto"}, "a")
        (tuner, *_) = _TUNERS[goal._key]
        copy = pickle.loads(pickle.dumps(joblib.wrap_non_picklable_objects(goal)))
        assert copy.run({"initializer": "auto"}, "b") == score
        assert _TUNERS[goal._key][0] is tuner

    def test_threads_train_one_after_another(self, make: Make) -> None:
        goal = make(epochs=1)
        study = study_of(goal, [{"initializer": "auto"}, {"initializer": "own"}])
        study.optimize(goal, n_trials=2, n_jobs=2)
        alone = study_of(goal, [{"initializer": "auto"}, {"initializer": "own"}])
        alone.optimize(goal, n_trials=2)
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
