"""The search as it is called: what it gives, what it writes, how it goes on, and what it refuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from keras_initx.tuning import InitializerTuner, Range, SearchResult, from_arrays, search
from keras_initx.tuning.arguments import fingerprint

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

Quick = Callable[..., SearchResult]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def records(result: SearchResult) -> list[Any]:
    """All that a search found, but for the clock."""
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


@pytest.fixture
def numbers() -> Any:
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    return (x[:48], y[:48]), (x[48:], y[48:])


class TestResult:
    def test_the_mean_is_that_of_the_seeds_and_the_best_is_the_best(self, quick: Quick) -> None:
        result = quick(trials=3)
        assert [t.number for t in result.trials] == [0, 1, 2]
        assert {t.status for t in result.trials} == {"completed"}
        for trial in result.trials:
            assert list(trial.seeds) == [0, 1]
            assert trial.sample.mean == np.mean([r["score"] for r in trial.seeds.values()])
            stored = result.tuner.oracle.frozen_trials()[trial.number].value
            assert stored == trial.sample.mean
        assert result.best.sample.mean == max(t.sample.mean for t in result.trials)
        assert str(result.folders.logs) in result.tensorboard

    def test_the_best_model_evaluates_to_its_best_seed(self, quick: Quick, pairs: Any) -> None:
        result = quick(trials=3)
        found = result.best_model().evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
        assert found["accuracy"] == pytest.approx(max(result.best.sample.scores), abs=1e-7)

    def test_the_results_file_has_every_seed(self, quick: Quick) -> None:
        result = quick(seeds=[4, 9])
        read = json.loads((result.folders.results / "results.json").read_text())
        assert read["best_trial"] == result.best.number
        assert read["settings"]["seeds"] == [4, 9]
        assert len(read["trials"]) == 2
        for trial, written in zip(result.trials, read["trials"], strict=True):
            assert written["hyperparameters"] == trial.values
            assert written["mean"] == trial.sample.mean
            assert written["seeds"].keys() == {"4", "9"}
            for seed, record in trial.seeds.items():
                assert written["seeds"][str(seed)] == record

    def test_nothing_is_printed_when_quiet(self, quick: Quick, capfd: Any) -> None:
        quick()
        out, err = capfd.readouterr()
        assert "trial" not in (out + err).lower()

    def test_a_line_for_each_trial_where_there_is_no_terminal(self, quick: Quick, capsys: Any) -> None:
        quick(quiet=False)
        out, err = capsys.readouterr()
        assert out == ""
        assert [line.split(":")[0] for line in err.splitlines() if line.startswith("trial")] == [
            "trial 0 completed",
            "trial 1 completed",
        ]

    def test_a_dataset_and_plain_arrays_are_split_alike(self, quick: Quick, pairs: Any) -> None:
        (x, y), _ = pairs
        one = quick(data=(x, y), trials=1)
        two = quick(data=from_arrays(x, y), trials=1, overwrite=True)
        assert records(one) == records(two)
        assert "test" in one.trials[0].seeds[0]


class TestRepetition:
    @pytest.mark.parametrize("tuner", ["tpe", "random", "grid"])
    def test_the_same_seed_gives_the_same_search(self, quick: Quick, tuner: str) -> None:
        options = {"tuner": tuner, "trials": 3, "initializers": ["auto", "he_normal"]}
        one = records(quick(**options))
        # Keras numbers the layers on from the first search.
        assert records(quick(**options, overwrite=True)) == one

    def test_another_seed_gives_another(self, quick: Quick) -> None:
        assert records(quick(seed=1)) != records(quick(seed=2, overwrite=True))


class TestInterruption:
    def test_a_resumed_search_is_that_of_one_go(self, quick: Quick, recorder: Any, tmp_path: Path) -> None:
        options: dict[str, Any] = {"seeds": 3, "trials": 3}
        with pytest.raises(KeyboardInterrupt):
            quick(**options, observers=[recorder(after=5)])
        # Trial 0 is done, and two seeds of trial 1; both are in the file that is left.
        left = json.loads((tmp_path / "results" / "results.json").read_text())["trials"]
        assert [(t["status"], list(t["seeds"])) for t in left] == [
            ("completed", ["0", "1", "2"]),
            ("running", ["0", "1"]),
        ]
        watch = recorder()
        resumed = quick(**options, observers=[watch], resume=True)
        assert watch.begun == [("0001", [2]), ("0002", [0, 1, 2])]
        assert watch.seeds == [("0001", 2), *(("0002", s) for s in range(3))]
        whole = quick(**options, results=tmp_path / "whole", logs=tmp_path / "whole_logs")
        assert records(resumed) == records(whole)
        assert resumed.best == resumed.trials[resumed.best.number]
        for one, two in zip(
            resumed.best_model().get_weights(), whole.best_model().get_weights(), strict=True
        ):
            np.testing.assert_array_equal(one, two)

    def test_the_weights_of_the_best_seed_survive(self, quick: Quick, recorder: Any, pairs: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            quick(trials=1, seeds=4, observers=[recorder(after=3)])
        result = quick(trials=1, seeds=4, resume=True)
        found = result.best_model().evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
        assert found["accuracy"] == pytest.approx(max(result.best.sample.scores), abs=1e-7)

    def test_more_trials_run_only_those(self, quick: Quick, recorder: Any, tmp_path: Path) -> None:
        first = quick(trials=2)
        watch = recorder()
        more = quick(trials=4, resume=True, observers=[watch])
        assert [t for t, _ in watch.begun] == ["0002", "0003"]
        assert records(more)[:2] == records(first)
        assert records(quick(trials=4, results=tmp_path / "b", logs=tmp_path / "c")) == records(more)

    def test_a_finished_search_runs_nothing(self, quick: Quick, recorder: Any) -> None:
        first = quick()
        watch = recorder()
        assert records(quick(resume=True, observers=[watch])) == records(first)
        assert watch.begun == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("epochs", 3),
            ("seeds", 3),
            ("batch_size", 8),
            ("tuner", "tpe"),
            ("objective", "val_loss"),
            ("patience", 1),
        ],
    )
    def test_other_settings_are_named(self, quick: Quick, tmp_path: Path, name: str, value: Any) -> None:
        quick(trials=1, seeds=1, epochs=1)
        before = content(tmp_path)
        with pytest.raises(InitxError, match=f"^{name}: received .*as the search began"):
            quick(**{"trials": 1, "seeds": 1, "epochs": 1, name: value}, resume=True)
        assert content(tmp_path) == before

    def test_what_another_space_differs_in(self, quick: Quick) -> None:
        quick(initializers=["auto", "own"], learning_rates=[0.1])
        says = r"received .initializer of \['auto'\].; allowed: initializer of \['auto', 'own'\], as"
        with pytest.raises(InitxError, match=says):
            quick(initializers=["auto"], learning_rates=[0.1], resume=True)

    def test_other_data_or_another_space_are_another_search(self, quick: Quick, pairs: Any) -> None:
        quick(trials=1, seeds=1, epochs=1)
        (x, y), validation = pairs
        with pytest.raises(InitxError, match=r"^data: "):
            quick(data=((x + 1, y), validation), trials=1, seeds=1, epochs=1, resume=True)
        with pytest.raises(InitxError, match=r"^space: "):
            quick(initializers=["auto"], trials=1, seeds=1, epochs=1, resume=True)

    def test_a_search_in_the_folder_is_kept(self, quick: Quick, tmp_path: Path) -> None:
        quick(trials=1, seeds=1, epochs=1)
        before = content(tmp_path)
        with pytest.raises(InitxError, match="Pass resume=True to go on with it, overwrite=True"):
            quick(trials=1)
        assert content(tmp_path) == before

    def test_overwrite_leaves_the_users_notes(self, quick: Quick, tmp_path: Path) -> None:
        quick(trials=2, seeds=1, epochs=1)
        (tmp_path / "results" / "notes.md").write_text("mine")
        (tmp_path / "results" / "trial_0001" / "notes.md").write_text("mine")
        result = quick(trials=1, seeds=1, epochs=1, overwrite=True)
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
            regression(), numbers, objective="val_loss", learning_rates=[0.1, 1e-5], tuner="grid", trials=None
        )
        assert result.objective.direction == "min"
        assert len(result.trials) == 12
        assert result.best.values["learning_rate"] == 0.1
        assert result.best.sample.mean == min(t.sample.mean for t in result.trials)
        loss = result.best_model().evaluate(*numbers[1], verbose=0, return_dict=True)["loss"]
        assert loss == pytest.approx(min(result.best.sample.scores), rel=1e-6)

    def test_a_loss_that_is_no_number_ends_a_seed_and_not_the_search(
        self, quick: Quick, numbers: Any
    ) -> None:
        rates = [1e30, 0.01]
        result = quick(
            regression(),
            numbers,
            objective="val_loss",
            learning_rates=rates,
            initializers=["auto"],
            tuner="grid",
        )
        states = {t.values["learning_rate"]: (t.status, t.reason) for t in result.trials}
        assert states[0.01] == ("completed", "")
        assert states[1e30][0] == "failed"
        assert "not finite" in states[1e30][1]
        text = (result.folders.results / "results.json").read_text()
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
        read = json.loads((result.folders.results / "results.json").read_text())["trials"][0]
        for seed, record in trial.seeds.items():
            assert 1 < record["diverged_in_epoch"] == record["epochs"] < 40
            assert read["seeds"][str(seed)]["curves"]["loss"][-1] is None

    def test_a_built_model_stays_as_it_is(self, quick: Quick, small_model: Any) -> None:
        model = small_model()
        before = model.get_weights()
        result = quick(model)
        for one, two in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        assert set(result.best.values) == {"initializer", "learning_rate"}

    def test_conditional_hyperparameters_of_the_users_own(self, quick: Quick, small_model: Any) -> None:
        def build(hp: Any) -> keras.Model:
            wide = hp.Boolean("wide")
            # Entered in any case, so that KerasTuner learns of it.
            with hp.conditional_scope("wide", [True]):
                units = hp.Int("units", 4, 6)
            return small_model(units if wide else 3)

        result = quick(build, trials=6, seeds=1, epochs=1)
        assert len(result.trials) == 6
        assert {"units" in t.values for t in result.trials} == {True, False}
        for trial in result.trials:
            assert ("units" in trial.values) is trial.values["wide"]

    def test_under_xla(self, quick: Quick, pairs: Any) -> None:
        result = quick(jit_compile=True, trials=2, seeds=2)
        found = result.best_model().evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
        assert found["accuracy"] == pytest.approx(max(result.best.sample.scores), abs=1e-7)


def never(*args: Any) -> Any:
    raise AssertionError("nothing may be built")


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "argument"),
        [
            ({"epochs": 0}, "epochs"),
            ({"epochs": True}, "epochs"),
            ({"epochs": 1.5}, "epochs"),
            ({"batch_size": -1}, "batch_size"),
            ({"patience": 0}, "patience"),
            ({"trials": 0}, "trials"),
            ({"seeds": 0}, "seeds"),
            ({"seeds": []}, "seeds"),
            ({"seeds": [1, 1]}, "seeds"),
            ({"seeds": [-1]}, "seeds"),
            ({"tuner": "gird"}, "tuner"),
            ({"tuner": "grid", "learning_rates": Range(0.1, 0.2)}, "tuner"),
            ({"initializers": ["he_norml"]}, "initializers"),
            ({"learning_rates": [0]}, "learning_rates"),
            ({"model": 3}, "model"),
            ({"model": lambda: None}, "model"),
            ({"model": lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])}, "model"),
            ({"resume": True}, "results"),
            ({"resume": True, "overwrite": True}, "resume"),
        ],
        ids=lambda v: "-".join(v) if isinstance(v, dict) else v,
    )
    def test_nothing_is_written(self, quick: Quick, tmp_path: Path, options: Any, argument: str) -> None:
        with pytest.raises(InitxError) as caught:
            quick(**options)
        assert caught.value.argument == argument
        assert list(tmp_path.iterdir()) == []

    def test_a_model_without_kernels(self, quick: Quick, tmp_path: Path) -> None:
        model = keras.Sequential([keras.Input((4,)), keras.layers.ReLU()])
        model.compile("sgd", "mse")
        with pytest.raises(InitxError, match="a model in which a layer has a kernel_initializer"):
            quick(model)
        assert list(tmp_path.iterdir()) == []

    def test_an_error_of_the_users_function_comes_at_once(self, quick: Quick, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="nothing may be built"):
            quick(lambda: never())
        assert list(tmp_path.iterdir()) == []

    X, Y = np.zeros((20, 4), "float32"), np.arange(20) % 2

    @pytest.mark.parametrize(
        ("data", "argument"),
        [
            (None, "data"),
            ("digits", "data"),
            ((X,), "data"),
            (((X, Y), (X[:0], Y[:0])), r"data (validation)"),
            (((X, Y[:5]), (X, Y)), r"data (train)"),
            (((X, Y), (X, Y), (X, Y[1:])), r"data (test)"),
            (((X, Y), (X, Y), (X, Y), (X, Y)), "data"),
            ((X, Y[:5]), "y"),
            ((X * np.nan, Y), "x"),
        ],
        ids=["none", "name", "single", "empty", "train", "test", "four", "lengths", "nan"],
    )
    def test_of_data(self, quick: Quick, tmp_path: Path, data: Any, argument: str) -> None:
        with pytest.raises(InitxError) as caught:
            quick(data=data)
        assert caught.value.argument == argument
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("one_hot", [True, False])
    def test_labels_of_the_other_kind(self, quick: Quick, pairs: Any, one_hot: bool) -> None:
        def build() -> keras.Model:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="softmax")])
            model.compile(
                "adam", "sparse_categorical_crossentropy" if one_hot else "categorical_crossentropy"
            )
            return model

        if one_hot:
            pairs = tuple((x, np.eye(2, dtype="float32")[y]) for x, y in pairs)
        says = "labels are one-hot.*compile with categorical" if one_hot else "class numbers.*with sparse"
        with pytest.raises(InitxError, match=says):
            quick(build, pairs, objective="val_loss")

    def test_three_trials_that_raise(self, quick: Quick, monkeypatch: Any, tmp_path: Path) -> None:
        def out_of_memory(*args: Any) -> Any:
            raise MemoryError("no room for the activations")

        monkeypatch.setattr(InitializerTuner, "run_seed", out_of_memory)
        with pytest.raises(RuntimeError, match="consecutive failures"):
            quick(trials=9)
        read = json.loads((tmp_path / "results" / "results.json").read_text())
        assert [t["status"] for t in read["trials"]] == ["failed"] * 3
        assert all(t["reason"] for t in read["trials"])
        assert read["best_trial"] is None
        assert not (tmp_path / "results" / "best_model.keras").exists()

    def test_no_best_of_nothing(self, quick: Quick, numbers: Any) -> None:
        result = quick(regression(), numbers, objective="val_loss", learning_rates=[1e30], trials=1)
        with pytest.raises(RuntimeError, match=r"No trial is completed.*not finite in any epoch"):
            _ = result.best


def test_fingerprint_sees_values_shapes_and_types() -> None:
    x = np.arange(6)
    prints = [
        fingerprint((x, x)),
        fingerprint((x, x), None, (x, x)),
        fingerprint((x[::-1], x)),
        fingerprint((x.reshape(2, 3), x)),
        fingerprint((x.astype("float64"), x)),
    ]
    assert len(set(prints)) == len(prints)
    assert fingerprint((np.asfortranarray(x.reshape(2, 3)), x)) == fingerprint((x.reshape(2, 3), x))


def test_an_objective_given_with_its_direction(quick: Quick) -> None:
    result = quick(objective=keras_tuner.Objective("val_loss", "max"))
    assert result.best.sample.mean == max(t.sample.mean for t in result.trials)


@pytest.mark.slow
def test_the_best_model_is_loaded_by_another_process(quick: Quick, pairs: Any, tmp_path: Path) -> None:
    result = quick(initializers=["he_auto", "auto"], trials=3)
    np.savez(tmp_path / "validation.npz", x=pairs[1][0], y=pairs[1][1])
    code = f"""
import keras, numpy as np, keras_initx
data = np.load({str(tmp_path / "validation.npz")!r})
model = keras.models.load_model({str(result.folders.results / "best_model.keras")!r})
print(repr(model.evaluate(data["x"], data["y"], batch_size=24, verbose=0, return_dict=True)["accuracy"]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout.split()[-1]) == pytest.approx(max(result.best.sample.scores), abs=1e-7)


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert search.__kwdefaults__["objective"] == "val_accuracy"
    assert (search.__kwdefaults__["epochs"], search.__kwdefaults__["seeds"]) == (20, 3)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("learning_rates", 0.01), ("gains", 3), ("weight_decays", 0.1), ("schedules", 5),
        ("initializers", 3), ("pruner", 5), ("pruner", optuna.pruners.MedianPruner), ("tuner", 5),
        ("tuner", optuna.samplers.TPESampler), ("workers", 2), ("screening", "off"), ("quiet", "no"),
        ("jit_compile", "yes"), ("resume", 1), ("seeds", None), ("seeds", 1.5), ("observers", 3),
        ("results", 3), ("logs", 3),
    ],
)  # fmt: skip
def test_arguments_of_another_kind(quick: Any, tmp_path: Path, argument: str, value: Any) -> None:
    with pytest.raises(InitxError, match=rf"^{argument}: received .*; allowed: "):
        quick(**{argument: value})
    assert list(tmp_path.iterdir()) == []


def test_gaps_in_the_data_are_named(quick: Any, pairs: Any) -> None:
    (x, y), validation = pairs
    x = x.copy()
    x[3, 1] = np.nan
    with pytest.warns(UserWarning, match=r"data \(train\): x has nan at index \(3, 1\)"):
        quick(data=((x, y), validation), trials=1)
