"""Test `search` as users call it: repetition, interruption, resuming, and different kinds of tasks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner, SearchResult, from_arrays, search
from keras_initx.tuning.study.heartbeat import new_owner

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

Quick = Callable[..., SearchResult]
# The smallest search: one seed of one epoch.
TINY = {"trials": 1, "seeds": 1, "epochs": 1}


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def records(result: SearchResult) -> list[Any]:
    """Return everything that a search recorded, except times."""
    return [
        (
            t.number,
            dict(t.values),
            t.status,
            {s: {k: v for k, v in r.items() if k != "seconds"} for s, r in t.seeds.items()},
        )
        for t in result.trials
    ]


def regression(rate: float = 0.01) -> Callable[[], keras.Model]:
    def build() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
        return model

    return build


@pytest.fixture(scope="session")
def numbers() -> Any:
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    return (x[:48], y[:48]), (x[48:], y[48:])


class TestProgress:
    def test_a_line_for_each_trial_without_a_terminal_unless_quiet(self, quick: Quick, capfd: Any) -> None:
        quick(trials=1, seeds=1)
        out, err = capfd.readouterr()
        assert "trial" not in (out + err).lower()
        quick(trials=3, seeds=1, mode="resume", verbose=None)
        out, err = capfd.readouterr()
        assert out == ""
        assert [line.split(":")[0] for line in err.splitlines() if line.startswith("trial")] == [
            "trial 1 completed",
            "trial 2 completed",
        ]


class TestRepetition:
    @pytest.mark.parametrize("tuner", ["tpe", "random", "grid"])
    def test_the_same_seed_gives_the_same_search(self, quick: Quick, tuner: str) -> None:
        options = {"tuner": tuner, "trials": 2, "seeds": 1, "initializers": ["auto", "he_normal"]}
        one = records(quick(**options))
        # The layers of the second search have other names, since Keras continues its numbers.
        assert records(quick(**options, mode="overwrite")) == one

    def test_another_seed_gives_another_search(self, quick: Quick) -> None:
        options = {"trials": 1, "seeds": 1}
        assert records(quick(**options, seed=1)) != records(quick(**options, seed=2, mode="overwrite"))

    def test_a_dataset_is_its_three_parts(self, quick: Quick, pairs: Any) -> None:
        (x, y), _ = pairs
        data = from_arrays(x, y)
        one = quick(data=data, trials=1)
        parts = (
            (data.x_train, data.y_train),
            (data.x_validation, data.y_validation),
            (data.x_test, data.y_test),
        )
        two = quick(data=parts, trials=1, mode="overwrite")
        assert records(one) == records(two)
        assert "test" in one.trials[0].seeds[0]


class TestInterruption:
    def test_a_resumed_search_equals_an_uninterrupted_one(
        self, quick: Quick, recorder: Any, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"seeds": 3, "trials": 3}
        with pytest.raises(KeyboardInterrupt):
            quick(**options, observers=[recorder(after=5)])
        # The file contains trial 0 and two seeds of trial 1.
        left = json.loads((tmp_path / "results" / "results.json").read_text())["trials"]
        assert [(t["status"], list(t["seeds"])) for t in left] == [
            ("completed", ["0", "1", "2"]),
            ("running", ["0", "1"]),
        ]
        observer = recorder()
        resumed = quick(**options, observers=[observer], mode="resume")
        assert observer.begun == [("0001", [2]), ("0002", [0, 1, 2])]
        assert observer.seeds == [("0001", 2), *(("0002", s) for s in range(3))]
        uninterrupted = quick(**options, results=tmp_path / "whole", logs=tmp_path / "whole_logs")
        assert records(resumed) == records(uninterrupted)
        assert resumed.best == resumed.trials[resumed.best.number]
        for one, two in zip(
            resumed.best_model().get_weights(), uninterrupted.best_model().get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, two)

    def test_the_weights_of_the_best_seed_survive(self, quick: Quick, recorder: Any, pairs: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            quick(trials=1, seeds=4, observers=[recorder(after=3)])
        result = quick(trials=1, seeds=4, mode="resume")
        metrics = result.best_model().evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
        assert metrics["accuracy"] == pytest.approx(max(result.best.sample.scores), abs=1e-7)

    def test_a_finished_search_runs_only_additional_trials(
        self, quick: Quick, recorder: Any, tmp_path: Path
    ) -> None:
        first = quick(trials=1, seeds=1)
        observer = recorder()
        assert records(quick(trials=1, seeds=1, mode="resume", observers=[observer])) == records(first)
        assert observer.begun == []
        more = quick(trials=3, seeds=1, mode="resume", observers=[observer])
        assert [trial for trial, _ in observer.begun] == ["0001", "0002"]
        assert records(more)[:1] == records(first)
        uninterrupted = quick(trials=3, seeds=1, results=tmp_path / "b", logs=tmp_path / "c")
        assert records(uninterrupted) == records(more)

    def test_a_search_in_the_folder_is_kept_and_changed_settings_are_named(
        self, quick: Quick, pairs: Any, tmp_path: Path
    ) -> None:
        quick(**TINY, initializers=["auto", "own"])
        before = content(tmp_path)
        with pytest.raises(InitxError, match=r'mode="resume".*mode="overwrite"'):
            quick(**TINY)
        options = {**TINY, "initializers": ["auto", "own"], "mode": "resume"}
        for name, value in {
            "epochs": 3,
            "seeds": 3,
            "batch_size": 8,
            "tuner": "tpe",
            "objective": "val_loss",
            "patience": 1,
        }.items():
            with pytest.raises(InitxError, match=rf"^`{name}` must be .*, as when the search began, got"):
                quick(**{**options, name: value})
        (x, y), validation = pairs
        with pytest.raises(InitxError, match=r"^`data` must be .*, as when the search began, got"):
            quick(**options, data=((x + 1, y), validation))
        problem = r"^`space` .*initializer of \['auto', 'own'\], and now has initializer of \['auto'\]\."
        with pytest.raises(InitxError, match=problem):
            quick(**{**options, "initializers": ["auto"]})
        assert content(tmp_path) == before

    def test_overwrite_leaves_the_users_notes(self, quick: Quick, tmp_path: Path) -> None:
        quick(trials=2, seeds=1, epochs=1)
        (tmp_path / "results" / "notes.md").write_text("mine")
        (tmp_path / "results" / "trial_0001" / "notes.md").write_text("mine")
        result = quick(**TINY, mode="overwrite")
        assert len(result.trials) == 1
        assert sorted(content(tmp_path / "results")) == [
            "best_model.keras",
            "notes.md",
            "results.json",
            "search.log",
            "settings.json",
            "study.db",
            "trial_0000/best_0.weights.h5",
            "trial_0001/notes.md",
        ]


class TestTasks:
    def test_regression(self, quick: Quick, numbers: Any) -> None:
        result = quick(
            regression(),
            numbers,
            objective="val_loss",
            learning_rates=[0.1, 1e-5],
            tuner="grid",
            trials=None,
            epochs=1,
        )
        assert result.objective.direction == "min"
        # Six initializers by default.
        assert len(result.trials) == 12
        assert result.best.values["learning_rate"] == 0.1
        assert result.best.sample.mean == min(t.sample.mean for t in result.trials)
        loss = result.best_model().evaluate(*numbers[1], verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(min(result.best.sample.scores), rel=1e-6)

    def test_a_loss_that_is_not_finite_fails_a_trial_but_not_the_search(
        self, quick: Quick, numbers: Any
    ) -> None:
        result = quick(
            regression(),
            numbers,
            objective="val_loss",
            learning_rates=[1e30, 0.01],
            initializers=["auto"],
            tuner="grid",
        )
        statuses = {t.values["learning_rate"]: (t.status, t.reason) for t in result.trials}
        assert statuses[0.01] == ("completed", "")
        assert statuses[1e30][0] == "failed"
        assert "no epoch of seed" in statuses[1e30][1]
        text = result.results_file.read_text()
        assert "NaN" not in text
        assert "Infinity" not in text

    def test_a_later_divergence_is_recorded(self, quick: Quick, numbers: Any) -> None:
        result = quick(
            regression(),
            numbers,
            objective="val_loss",
            learning_rates=[1e6],
            epochs=40,
            batch_size=48,
            trials=1,
        )
        (trial,) = result.trials
        written = json.loads(result.results_file.read_text())["trials"][0]
        for seed, record in trial.seeds.items():
            assert 1 < record["diverged_in_epoch"] == record["epochs"] < 40
            assert written["seeds"][str(seed)]["curves"]["loss"][-1] is None

    def test_a_built_model_stays_unchanged(self, quick: Quick, small_model: Any) -> None:
        model = small_model()
        before = model.get_weights()
        result = quick(model, trials=1, seeds=1)
        for one, two in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        assert set(result.best.values) == {"initializer", "learning_rate"}

    def test_conditional_hyperparameters_of_the_users_model(self, quick: Quick, small_model: Any) -> None:
        def build(hp: Any) -> keras.Model:
            wide = hp.Boolean("wide")
            # KerasTuner learns of a conditional hyperparameter only if its scope is always entered.
            with hp.conditional_scope("wide", [True]):
                units = hp.Int("units", 4, 6)
            return small_model(units if wide else 3)

        result = quick(build, trials=6, seeds=1, epochs=1)
        assert len(result.trials) == 6
        assert {"units" in t.values for t in result.trials} == {True, False}
        for trial in result.trials:
            assert ("units" in trial.values) is trial.values["wide"]

    def test_under_xla(self, quick: Quick, pairs: Any) -> None:
        result = quick(jit_compile=True, trials=2, seeds=1)
        metrics = result.best_model().evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
        assert metrics["accuracy"] == pytest.approx(max(result.best.sample.scores), abs=1e-7)

    def test_the_best_model_normalizes_as_it_was_adapted(self, quick: Quick, pairs: Any) -> None:
        far = tuple((x * 10 + 50, y) for x, y in pairs)

        def build() -> keras.Model:
            scale = keras.layers.Normalization()
            scale.adapt(far[0][0])
            model = keras.Sequential([keras.Input((4,)), scale, keras.layers.Dense(2, "softmax")])
            model.compile("adam", "sparse_categorical_crossentropy")
            return model

        result = quick(build, far, objective="val_loss", initializers=["own"], **TINY)
        loss = keras.models.load_model(result.model_file).evaluate(*far[1], batch_size=24, verbose=0)
        assert loss == pytest.approx(result.best.sample.mean, rel=1e-5)

    @pytest.mark.parametrize(("metrics", "chosen"), [(["mae"], "val_loss"), (["accuracy"], "val_accuracy")])
    def test_no_objective_takes_accuracy_or_loss(self, quick: Quick, metrics: Any, chosen: str) -> None:
        def build() -> keras.Model:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, "sigmoid")])
            model.compile("sgd", "binary_crossentropy", metrics=metrics)
            return model

        x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
        assert quick(build, ((x, y), (x, y)), objective=None, **TINY).objective.name == chosen

    def test_the_model_is_built_once_before_the_trials(self, quick: Quick, numbers: Any) -> None:
        builds: list[int] = []
        begun: list[int] = []

        class Begins:
            on_epoch_end = on_seed_end = on_trial_end = lambda *args: None

            def on_trial_begin(self, trial: Any, seeds: Any) -> None:
                begun.append(len(builds))

        def build() -> keras.Model:
            builds.append(0)
            return regression()()

        quick(build, numbers, objective="val_loss", observers=[Begins()], **TINY)
        assert begun == [1]

    def test_an_objective_with_its_direction(self, quick: Quick) -> None:
        result = quick(objective=keras_tuner.Objective("val_loss", "max"), seeds=1)
        assert result.best.sample.mean == max(t.sample.mean for t in result.trials)


class TestFailures:
    def test_three_trials_that_raise_end_the_search(
        self, quick: Quick, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def out_of_memory(*args: Any) -> Any:
            raise MemoryError("no room for the activations")

        monkeypatch.setattr(InitializerTuner, "run_seed", out_of_memory)
        with pytest.raises(RuntimeError, match="consecutive failures"):
            quick(trials=9)
        written = json.loads((tmp_path / "results" / "results.json").read_text())
        assert [t["status"] for t in written["trials"]] == ["failed"] * 3
        assert all(t["reason"] for t in written["trials"])
        assert written["best_trial"] is None
        assert not (tmp_path / "results" / "best_model.keras").exists()

    def test_a_search_without_a_completed_trial_raises_the_first_reason(
        self, quick: Quick, numbers: Any, tmp_path: Path
    ) -> None:
        with pytest.raises(
            RuntimeError, match=r"^None of the 1 trials completed\. Trial 0: .*no epoch of seed"
        ):
            quick(regression(), numbers, objective="val_loss", learning_rates=[1e30], trials=1, seeds=1)
        # What it tried is kept.
        (trial,) = json.loads((tmp_path / "results" / "results.json").read_text())["trials"]
        assert trial["status"] == "failed"


@pytest.mark.slow
def test_another_process_loads_the_best_model(quick: Quick, pairs: Any, tmp_path: Path) -> None:
    result = quick(initializers=["he_auto", "auto"])
    np.savez(tmp_path / "validation.npz", x=pairs[1][0], y=pairs[1][1])
    code = f"""
import keras, numpy as np, keras_initx
data = np.load({str(tmp_path / "validation.npz")!r})
model = keras.models.load_model({str(result.model_file)!r})
print(repr(model.evaluate(data["x"], data["y"], batch_size=24, verbose=0, return_dict=True)["accuracy"]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) == pytest.approx(max(result.best.sample.scores), abs=1e-7)


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert search.__kwdefaults__["objective"] == "val_accuracy"
    assert (search.__kwdefaults__["epochs"], search.__kwdefaults__["seeds"]) == (20, 3)


def test_overwrite_spares_a_search_that_runs(quick: Quick, tmp_path: Path) -> None:
    trial = quick(**TINY).tuner.oracle.study.ask()
    trial.set_user_attr("owner", {**new_owner(), "pid": os.getppid(), "started": None})
    before = content(tmp_path)
    with pytest.raises(InitxError, match=r'^mode="overwrite" would remove a running search: process \d+ on'):
        quick(**{**TINY, "epochs": 2}, mode="overwrite")
    assert content(tmp_path) == before
    trial.set_user_attr("owner", {})
    quick(**{**TINY, "epochs": 2}, mode="overwrite")


def test_a_resumed_search_removes_what_a_killed_process_left(quick: Quick, tmp_path: Path) -> None:
    quick(**TINY)
    partial = tmp_path / "results/partial.0f.best_model.keras"
    partial.write_text("")
    quick(**TINY, mode="resume")
    assert not partial.exists()
