"""Test that a study read from a KerasTuner search contains what KerasTuner itself reports."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import optuna
import pytest
from keras_initx.tuning import OptunaOracle, read_keras_tuner
from keras_initx.tuning.report.importance import importances
from keras_initx.tuning.storage.databases import storage_session
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from keras_initx import InitxError
from tests.support.keras_tuner_searches import ORACLES, Tuner, content, oracles, run, space

pytestmark = pytest.mark.one_backend


def searched_values(trial: Any) -> dict[str, Any]:
    values = trial.hyperparameters.values
    return {n: v for n, v in values.items() if n != "batch" and not n.startswith("tuner/")}


@pytest.mark.parametrize("name", ORACLES)
def test_the_trials_match_those_of_keras_tuner(tmp_path: Path, name: str) -> None:
    oracle = run(tmp_path, name).oracle
    before = content(tmp_path / name)
    study = read_keras_tuner(tmp_path / name)
    assert content(tmp_path / name) == before
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert [t.user_attrs["trial_id"] for t in study.trials] == oracle.start_order
    for frozen in study.trials:
        trial = oracle.get_trial(frozen.user_attrs["trial_id"])
        assert frozen.params == searched_values(trial)
        assert ("depth" in frozen.params) == (frozen.params["kind"] == "deep")
        if trial.status == "COMPLETED":
            assert frozen.value == trial.score
            metrics = {
                name: trial.metrics.get_best_value(name) for name in ("val_accuracy", "accuracy", "loss")
            }
            assert frozen.user_attrs["metrics"] == metrics
    completed = [t for t in study.trials if t.state.name == "COMPLETE"]
    assert len(completed) == len(study.trials) - 2
    best = oracle.get_best_trials(len(completed))
    assert sorted((t.value for t in completed), reverse=True) == [t.score for t in best]
    assert study.best_params == searched_values(best[0])
    failed = {t.number: t.user_attrs["reason"] for t in study.trials if t.state.name == "FAIL"}
    assert failed == {2: "ValueError: no such layer", 4: "val_accuracy is nan"}


def test_hyperparameters_keep_their_kind(searched: Any) -> None:
    study = read_keras_tuner(searched[0])
    (deep, *_) = [t for t in study.trials if t.params["kind"] == "deep"]
    assert deep.distributions == {
        "kind": CategoricalDistribution(["deep", "wide"]),
        "units": IntDistribution(2, 11, step=3),
        "rate": FloatDistribution(1e-4, 1e-1, log=True),
        "dropout": FloatDistribution(0, 0.4, step=0.1),
        "width": CategoricalDistribution([4, 8, 16, 32, 64]),
        "bias": CategoricalDistribution([False, True]),
        "depth": IntDistribution(1, 3),
    }
    assert deep.user_attrs["not_searched"] == {"batch": 16}


def test_models_that_keras_tuner_trained_several_times_each(tmp_path: Path, pairs: Any) -> None:
    def build(hp: keras_tuner.HyperParameters) -> keras.Model:
        layers = [keras.Input((4,)), keras.layers.Dense(hp.Int("units", 1, 8)), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile("sgd", "mse")
        return model

    tuner = keras_tuner.RandomSearch(
        build,
        "val_loss",
        max_trials=2,
        executions_per_trial=2,
        directory=str(tmp_path),
        project_name="models",
    )
    tuner.search(*pairs[0], epochs=2, validation_data=pairs[1], verbose=0)
    study = read_keras_tuner(tmp_path / "models")
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    trials = tuner.oracle.trials
    assert [t.value for t in study.trials] == [trials[t.user_attrs["trial_id"]].score for t in study.trials]
    assert study.best_params == tuner.get_best_hyperparameters()[0].values


@pytest.mark.filterwarnings("ignore:The use case of calling:DeprecationWarning")
def test_steps_are_intermediate_values(tmp_path: Path) -> None:
    class Stepping(Tuner):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> None:
            for step, values in enumerate(((0.5, 0.7), (0.9, 0.7), (0.1, 0.3))):
                for value in values:
                    self.oracle.update_trial(trial.trial_id, {"val_accuracy": value}, step=step)

    run(tmp_path, tuner=Stepping)
    trial = read_keras_tuner(tmp_path / "random").trials[0]
    assert trial.intermediate_values == pytest.approx({0: 0.6, 1: 0.8, 2: 0.2})
    assert trial.value == pytest.approx(0.8)


def test_an_interrupted_trial_is_running(tmp_path: Path) -> None:
    class Interrupted(Tuner):
        end = KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tuner=Interrupted)
    last = read_keras_tuner(tmp_path / "random").trials[-1]
    assert (last.number, last.state.name, last.value) == (7, "RUNNING", None)
    assert last.params["units"] in (2, 5, 8, 11)


def test_a_name_has_one_distribution_even_if_keras_tuner_has_two(tmp_path: Path) -> None:
    """A name is declared under two conditions, and defaults lie between steps or outside of a range."""

    def build(hp: keras_tuner.HyperParameters) -> None:
        hp.Choice("kind", ["a", "b"])
        for kind, choices, top in (("a", ["x", "y"], 2), ("b", ["y", "z"], 5)):
            with hp.conditional_scope("kind", [kind]):
                hp.Choice("which", choices)
                hp.Int("depth", 1, top)

    class Late(keras_tuner.Tuner):
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            hp = trial.hyperparameters
            late = hp.Int("late", 1, 8, step=3, default=5) + hp.Float("beyond", 0.0, 1.0, default=1.5)
            return float(late + hp.values.get("depth", 0))

    oracle = oracles.RandomSearchOracle(max_trials=12, seed=0)
    Late(oracle, build, directory=str(tmp_path), project_name="late").search(verbose=0)
    study = read_keras_tuner(tmp_path / "late")
    assert [t.params for t in study.trials] == [t.hyperparameters.values for t in oracle.trials.values()]
    assert study.trials[0].params["late"] == 5
    distributions = {name: d for t in study.trials for name, d in t.distributions.items()}
    assert distributions == {
        "kind": CategoricalDistribution(["a", "b"]),
        "which": CategoricalDistribution(["x", "y", "z"]),
        "depth": IntDistribution(1, 5),
        "late": IntDistribution(1, 7),
        "beyond": FloatDistribution(0, 1.5),
    }
    for trial in study.trials:
        assert trial.distributions == {name: distributions[name] for name in trial.params}


class TestTheObjective:
    def test_another_metric(self, searched: Any) -> None:
        study = read_keras_tuner(searched[0], objective="loss")
        assert study.direction == optuna.study.StudyDirection.MINIMIZE
        assert {t.value for t in study.trials if t.state.name == "COMPLETE"} == {1.0}
        study = read_keras_tuner(searched[0], objective=keras_tuner.Objective("loss", "max"))
        assert study.direction == optuna.study.StudyDirection.MAXIMIZE

    def test_an_unknown_metric(self, searched: Any) -> None:
        with pytest.raises(
            InitxError,
            match=r"^`objective` must be a metric of .* \(accuracy, loss, val_accuracy\), got 'val_auc'",
        ):
            read_keras_tuner(searched[0], objective="val_auc")

    def test_several_at_once(self, tmp_path: Path) -> None:
        class Both(keras_tuner.Tuner):
            def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
                units = trial.hyperparameters.get("units")
                return {"a": units, "b": 1 / units, "multi_objective": 1 / units - units}

        objectives = [keras_tuner.Objective("a", "max"), keras_tuner.Objective("b", "min")]
        oracle = oracles.RandomSearchOracle(objectives, max_trials=4, seed=0)
        tuner = Both(oracle, space, directory=str(tmp_path), project_name="both")
        tuner.search(verbose=0)
        study = read_keras_tuner(tmp_path / "both")
        assert study.direction == optuna.study.StudyDirection.MINIMIZE
        assert study.best_value == oracle.get_best_trials()[0].score

    @pytest.mark.parametrize("metric", [{"other": 3.0}, {"loss": 7.0}])
    def test_scores_that_do_not_determine_the_objective(
        self, searched: Any, tmp_path: Path, metric: dict[str, float]
    ) -> None:
        """The score is a custom oracle's, or equals both a loss and an accuracy."""
        copy = shutil.copytree(searched[0], tmp_path / "copy")
        for number in range(8):
            file = copy / f"trial_{number}/trial.json"
            trial = json.loads(file.read_text())
            trial["score"] = 7.0
            for name in ("loss", "val_accuracy") if metric == {"loss": 7.0} else ():
                trial["metrics"]["metrics"].setdefault(
                    name, {"direction": {"loss": "min"}.get(name, "max"), "observations": []}
                )["observations"] = [{"value": [7.0], "step": 0}]
            file.write_text(json.dumps(trial))
        with pytest.raises(
            InitxError,
            match=r"^`objective` does not follow from the scores.*, one of accuracy, loss, val_accuracy\.",
        ):
            read_keras_tuner(copy)


class TestAResultsFolder:
    def test_our_tools_and_optunas_open_it(self, searched: Any, tmp_path: Path) -> None:
        written = read_keras_tuner(searched[0], tmp_path / "deep/results")
        assert os.listdir(tmp_path / "deep/results") == ["study.db"]
        with storage_session(None, tmp_path / "deep/results") as storage:
            study = optuna.load_study(study_name="keras-initx", storage=storage)
            memory = read_keras_tuner(searched[0])
            for one in (study, written):
                assert [t.params for t in one.trials] == [t.params for t in memory.trials]
                assert [t.values for t in one.trials] == [t.values for t in memory.trials]
        assert importances(tmp_path / "deep/results")[0][0].name == "units"

    def test_a_search_can_continue_there(self, searched: Any, tmp_path: Path) -> None:
        read_keras_tuner(searched[0], tmp_path / "results")
        oracle = OptunaOracle(
            "val_accuracy", max_trials=11, storage=f"sqlite:///{tmp_path / 'results/study.db'}"
        )
        Tuner(oracle, space, directory=str(tmp_path), project_name="on").search(verbose=0)
        results = oracle.results()
        assert [t.status for t in results].count("completed") == 6 + 3
        assert [t.number for t in results] == list(range(11))
        assert results[2].reason == "ValueError: no such layer"

    @pytest.mark.parametrize(
        ("there", "state"), [("study.db", "already holds a search"), ("thesis.tex", "holds other files")]
    )
    def test_nothing_there_is_touched(self, searched: Any, tmp_path: Path, there: str, state: str) -> None:
        (tmp_path / there).write_text("mine")
        with pytest.raises(InitxError, match=rf"^`results` .*{state}\. Pass a new or an empty folder"):
            read_keras_tuner(searched[0], tmp_path)
        assert os.listdir(tmp_path) == [there]
        with pytest.raises(InitxError, match=r"^`results` .* is a file\."):
            read_keras_tuner(searched[0], tmp_path / there)

    def test_not_into_the_folder_itself(self, searched: Any) -> None:
        before = content(searched[0])
        with pytest.raises(InitxError, match=r"^`results` .* holds other files\."):
            read_keras_tuner(searched[0], searched[0])
        assert content(searched[0]) == before
