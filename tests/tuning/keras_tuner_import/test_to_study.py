"""Test that a study read from a KerasTuner search contains what KerasTuner itself reports."""

import json
import os
import shutil
import warnings
from collections.abc import Callable
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
from keras_initx.cli import main

pytestmark = pytest.mark.one_backend

oracles = keras_tuner.oracles
ORACLES: dict[str, Callable[[], keras_tuner.Oracle]] = {
    "random": lambda: oracles.RandomSearchOracle("val_accuracy", max_trials=8, seed=1),
    "bayesian": lambda: oracles.BayesianOptimizationOracle("val_accuracy", max_trials=8, seed=1),
    "hyperband": lambda: oracles.HyperbandOracle("val_accuracy", max_epochs=4, seed=1),
    "grid": lambda: oracles.GridSearchOracle("val_accuracy", max_trials=8, seed=1),
}


def space(hp: keras_tuner.HyperParameters) -> None:
    kind = hp.Choice("kind", ["deep", "wide"])
    hp.Int("units", 2, 11, step=3)
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Float("dropout", 0, 0.45, step=0.1)
    hp.Int("width", 4, 64, step=2, sampling="log")
    hp.Boolean("bias")
    hp.Fixed("batch", 16)
    with hp.conditional_scope("kind", ["deep"]):
        if kind == "deep":
            hp.Int("depth", 1, 3)


class Tuner(keras_tuner.Tuner):
    """A search without models: the third trial raises, the fifth scores NaN, the last may end the search."""

    end: type[BaseException] | None = None

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        values = trial.hyperparameters
        space(values)
        number = int(trial.trial_id)
        if number == 2:
            raise ValueError("no such layer")
        if number == 7 and self.end:
            raise self.end
        score = float("nan") if number == 4 else values.get("units") + values.get("dropout")
        return {"val_accuracy": score, "accuracy": 2 * score, "loss": 1.0}


def run(folder: Path, name: str = "random", tuner: type[keras_tuner.Tuner] = Tuner) -> keras_tuner.Tuner:
    search = tuner(ORACLES[name](), space, directory=str(folder), project_name=name)
    with warnings.catch_warnings():
        # KerasTuner's own warning about the trial that scores NaN.
        warnings.filterwarnings("ignore", "All-NaN axis", RuntimeWarning)
        search.search(verbose=0)
    return search


@pytest.fixture(scope="module")
def searched(tmp_path_factory: Any) -> tuple[Path, keras_tuner.Tuner]:
    """The folder of a search, which no test may change, and the tuner that wrote it."""
    folder = tmp_path_factory.mktemp("kerastuner")
    return folder / "random", run(folder)


def content(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


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


class TestUnreadableFolders:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InitxError, match=r"^`folder` '.*nowhere' is not a folder\."):
            read_keras_tuner(tmp_path / "nowhere", tmp_path / "results")
        assert not list(tmp_path.iterdir())

    def test_nothing_of_keras_tuner(self, tmp_path: Path, searched: Any) -> None:
        with pytest.raises(
            InitxError, match=r"^`folder` '.*' is not the project folder .* with its oracle\.json\.$"
        ):
            read_keras_tuner(tmp_path)
        with pytest.raises(InitxError, match=r"It contains one: .*random\.$"):
            read_keras_tuner(searched[0].parent)

    @pytest.mark.parametrize("name", ["oracle.json", "trial_3/trial.json"])
    @pytest.mark.parametrize("damage", ["", '{"score": 1', "[1]", "{}", '{"hyperparameters": {"space": 1}}'])
    def test_a_damaged_file_is_named_and_can_be_left_out(
        self, searched: Any, tmp_path: Path, name: str, damage: str
    ) -> None:
        copy = shutil.copytree(searched[0], tmp_path / "copy")
        (copy / name).write_text(damage)
        with pytest.raises(
            InitxError, match=rf"^`folder` has a damaged file: '.*{name}'\. .*can be read without it"
        ):
            read_keras_tuner(copy, tmp_path / "results")
        assert not (tmp_path / "results").exists()
        (copy / name).unlink()
        trials = read_keras_tuner(copy).trials
        expected = [str(n) for n in range(8) if not (n == 3 and name.startswith("trial"))]
        assert [t.user_attrs["trial_id"] for t in trials] == expected

    def test_nothing_completed(self, tmp_path: Path) -> None:
        class Failing(Tuner):
            def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
                raise keras_tuner.errors.FailedTrialError("out of memory")

        with pytest.raises(RuntimeError, match="consecutive"):
            run(tmp_path, tuner=Failing)
        with pytest.raises(InitxError, match=r"^`folder` .*: none of its 3 trials is completed\."):
            read_keras_tuner(tmp_path / "random")


class TestTheCommandLine:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return (ended.value.code, *capsys.readouterr())

    def test_importance_of_a_keras_tuner_folder(self, searched: Any, capsys: Any) -> None:
        before = content(searched[0])
        code, out, _ = self.run(capsys, "importance", str(searched[0]), "--json")
        assert code == 0
        assert json.loads(out)["importances"][0]["name"] == "units"
        assert content(searched[0]) == before

    def test_import(self, searched: Any, tmp_path: Path, capsys: Any) -> None:
        code, out, _ = self.run(capsys, "import-kerastuner", str(searched[0]), str(tmp_path / "new"))
        assert code == 0
        assert "8 trials: 6 completed, 2 failed\n" in out
        (line,) = [line for line in out.splitlines() if line.startswith("Importances: keras-initx ")]
        assert self.run(capsys, *line.split()[2:])[0] == 0
        assert f"sqlite:///{tmp_path}/new/study.db" in out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["importance", "."],
                "error: DIR must be the folder of a search, which contains study.db, or of a ",
            ),
            (["import-kerastuner", "nowhere", "new"], "error: SRC 'nowhere' is not a folder."),
            (["import-kerastuner", "{}", "full"], "error: DIR 'full' holds other files."),
            (
                ["import-kerastuner", "{}", "new", "--objective", "auc"],
                "error: --objective must be a metric of the trials (accuracy, loss, val_accuracy), got",
            ),
        ],
    )
    def test_errors(
        self, searched: Any, tmp_path: Path, monkeypatch: Any, capsys: Any, arguments: list[str], message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "full").mkdir()
        (tmp_path / "full/mine").touch()
        code, _, err = self.run(capsys, *(a.format(searched[0]) for a in arguments))
        assert code == 2
        assert err.startswith(message)
        assert len(err.splitlines()) == 1
        assert sorted(os.listdir()) == ["full"]
