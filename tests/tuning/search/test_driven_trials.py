"""Trials that another program asks for keep their seeds, and find the values that it passes."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import optuna
import pytest
from keras_initx.tuning import SearchSpace, Stopping
from keras_initx.tuning.search.driven_trials import check_folder, claim_folder

from keras_initx import InitxError
from tests.support.objectives import Make, scores, study_of


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
def test_a_conditional_space_serves_every_trial(make: Make) -> None:
    def build(hp: Any) -> keras.Model:
        units = 2
        if hp.Boolean("wide"):
            with hp.conditional_scope("wide", [True]):
                units = hp.Int("units", 4, 6)
        layers = [keras.layers.Dense(units, activation="tanh"), keras.layers.Dense(2, activation="softmax")]
        model = keras.Sequential([keras.Input((4,)), *layers])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    goal = make(build, seeds=1, epochs=1, stopping=Stopping(screening=False))
    study = study_of(goal, [{"wide": True, "units": 5}, {"wide": False}, {"wide": True, "units": 4}])
    study.optimize(goal, n_trials=3)
    assert [goal.load_model(trial).layers[0].units for trial in study.trials] == [5, 2, 4]
    assert [trial.params.get("units") for trial in study.trials] == [5, None, 4]


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
def test_names_with_slashes_may_be_nested(make: Make) -> None:
    goal = make(space=SearchSpace({"*/kernel": ["auto", "own"]}), seeds=1, epochs=1)
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    assert goal.suggest(trial) is None
    ((name, value),) = trial.params.items()
    assert "/" in name
    first, rest = name.split("/")
    assert goal.run({first: {rest: value}}, "a") == goal.run({name: value}, "b")


@pytest.mark.one_backend
def test_a_restart_under_the_same_name_finds_its_seeds(make: Make, recorder: Any) -> None:
    with pytest.raises(RuntimeError):
        make(observers=[recorder(after=1, error=RuntimeError)]).run({"initializer": "own"}, "a")
    observer = recorder()
    make(observers=[observer]).run({"initializer": "own"}, "a")
    assert observer.seeds == [("a", 1)]


@pytest.mark.one_backend
def test_a_folder_serves_one_study(make: Make, tmp_path: Path) -> None:
    goal = make(epochs=1, seeds=1, stopping=Stopping(screening=False))
    study = study_of(goal, [{"initializer": "own"}])
    study.optimize(goal, n_trials=1)
    weights = goal.best_model(study).get_weights()
    other = study_of(goal, [{"initializer": "auto"}])
    message = rf"^`results` .*goal' holds the weights of another study, '{study.study_name}'\. Pass another"
    with pytest.raises(InitxError, match=message):
        other.optimize(goal, n_trials=1)
    with pytest.raises(InitxError, match=message):
        goal.best_model(other)
    # Each trial of no study has a folder of its own.
    fixed = [optuna.trial.FixedTrial({"initializer": name}) for name in ("zeros", "auto")]
    for trial in fixed:
        goal(trial)
    first, second = (goal.load_model(trial).get_weights()[0] for trial in fixed)
    # Below a head of zeros, no gradient reaches the zeros of the first layer.
    assert not first.any()
    assert second.all()
    for mine, loaded in zip(weights, goal.best_model(study).get_weights(), strict=True):
        np.testing.assert_array_equal(mine, loaded)


@pytest.mark.check
@pytest.mark.one_backend
def test_all_processes_of_a_study_may_use_its_folder(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    first = optuna.create_study(storage=storage, study_name="mine")
    # Opened before the first one claims the folder, as by another process.
    second = optuna.load_study(storage=storage, study_name="mine")
    claim_folder(first, tmp_path / "weights")
    claim_folder(second, tmp_path / "weights")
    claim_folder(optuna.load_study(storage=storage, study_name="mine"), tmp_path / "weights")
    namesake = optuna.create_study(study_name="mine")
    with pytest.raises(InitxError, match="of another study, 'mine'"):
        claim_folder(namesake, tmp_path / "weights")


@pytest.mark.check
@pytest.mark.one_backend
def test_threads_that_claim_a_folder_at_once_all_get_it(tmp_path: Path) -> None:
    study = optuna.create_study()
    barrier = threading.Barrier(8)

    def claim(_: int) -> None:
        barrier.wait()
        claim_folder(study, tmp_path / "weights")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(claim, range(8)))
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["study.json"]


@pytest.mark.check
@pytest.mark.one_backend
@pytest.mark.parametrize("content", ["", '{"key": "ab', "[]", "{}"], ids=["empty", "cut", "list", "no key"])
def test_a_damaged_owner_is_named_at_once(tmp_path: Path, content: str) -> None:
    study = optuna.create_study()
    (tmp_path / "study.json").write_text(content)
    started = time.monotonic()
    for use in (claim_folder, check_folder):
        with pytest.raises(
            InitxError, match=r"^`results` .*study\.json is damaged\. Restore a copy .* or remove"
        ):
            use(study, tmp_path)
    assert time.monotonic() - started < 2
    assert (tmp_path / "study.json").read_text() == content


@pytest.mark.check
@pytest.mark.one_backend
@pytest.mark.parametrize("kept", ["settings.json", "trial_0002/best_0.weights.h5"])
def test_the_folder_of_a_search_is_refused(make: Make, tmp_path: Path, kept: str) -> None:
    results = tmp_path / "search"
    file = results / kept
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"version": "0.1.0", "data": "", "space": {}}))
    study = optuna.create_study()
    for use in (claim_folder, check_folder):
        with pytest.raises(
            InitxError, match=r"^`results` .*search' holds a search, .*\. Pass another results= "
        ):
            use(study, results)
    goal = make(results=results)
    with pytest.raises(InitxError, match="holds a search"):
        goal.run({"initializer": "own"}, "0002")
    with pytest.raises(InitxError, match="holds a search"):
        goal(optuna.trial.FixedTrial({"initializer": "own"}))
    assert [path for path in results.rglob("*") if path.is_file()] == [file]


@pytest.mark.check
@pytest.mark.one_backend
def test_a_folder_of_named_trials_or_of_other_files_is_free(tmp_path: Path) -> None:
    for name in ("trial_0001/best_0.weights.h5", "trial_0001/attributes.json", "trial_a/best_0.weights.h5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    # Other programs write such a file as well.
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}')
    study = optuna.create_study()
    claim_folder(study, tmp_path)
    check_folder(study, tmp_path)
