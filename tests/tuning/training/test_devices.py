"""Trials that several devices train together equal the trials of one device, except for rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner
from keras_initx.tuning.data import FitArguments
from keras_initx.tuning.parallel.workers import Workers
from keras_initx.tuning.training.devices import Strategy, strategy_of

from keras_initx import InitxError
from keras_initx.cli.common import run_safely
from tests.support import processes

# The number of devices is fixed before anything else happens in a process. One process runs all searches
# with that number: lists of a strategy, a number of training rows, and whether to normalize.
SEARCHES = """
import json, os, sys, warnings
warnings.simplefilter("error", UserWarning)
backend, folder, devices, searches = sys.argv[1:5]
os.environ["KERAS_BACKEND"] = backend
os.environ["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={devices}"
if backend == "tensorflow":
    import tensorflow as tf
    parts = [tf.config.LogicalDeviceConfiguration()] * int(devices)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
import keras
import numpy as np
from keras_initx.tuning import Execution, Results, SearchSpace, search

x = np.random.default_rng(0).normal(size=(86, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")

def copies(variable):
    value = variable.value
    if backend == "jax":
        return [shard.data for shard in value.addressable_shards]
    return getattr(value, "values", [value])

def number(variable):
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable)))

def run(name, strategy, rows, normalized):
    rows = slice(rows), slice(53, 76), slice(76, 86)
    built = []

    def build():
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(6, activation="tanh")(inputs)
        if normalized:
            hidden = keras.layers.BatchNormalization()(hidden)
        model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(hidden))
        model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
        built.append(model)
        return model

    class Watch:
        trained, jit, apart, numbers = [], [], 0.0, set()
        def on_trial_begin(self, trial, seeds): ...
        def on_epoch_end(self, epochs): ...
        def on_trial_end(self, trial, status): ...
        def on_seed_end(self, trial, seed, record, skipped):
            # Without the model of the check before the search, which was trained on one device.
            used = [m for m in built
                    if not m.run_eagerly and m.optimizer.built and number(m.optimizer.iterations)]
            self.trained.append(len(used))
            for model in used:
                self.jit.append(bool(model.jit_compile))
                for variable in [*model.trainable_variables, *model.optimizer.variables]:
                    one, *others = [np.asarray(c) for c in copies(variable)]
                    Watch.numbers.add(1 + len(others))
                    Watch.apart = max([self.apart, *(float(abs(o - one).max()) for o in others)])

    parts = [(x[r], y[r]) for r in rows]
    result = search(
        build, *parts[0], validation_data=parts[1], test_data=parts[2], tuner="grid",
        # One epoch shows whether normalization gets a batch without rows.
        epochs=1 if normalized else 3, seeds=1 if normalized else 2, batch_size=16,
        extra_seeds=0 if normalized else 2,
        space=SearchSpace(["he_auto", "all_zeros", "auto"], [0.03]),
        results=Results(f"{folder}/{name}/results", logs=f"{folder}/{name}/logs"), verbose=0,
        execution=Execution(strategy=strategy), observers=[Watch()],
    )
    trials = {t.values["initializer"]: [t.status, t.reason, {s: r["curves"] for s, r in t.seeds.items()}]
              for t in result.trials}
    model = result.best_model()
    # Neither the model nor Keras's random generator stays on several devices.
    keras.random.normal((2,)) + model.predict(x[:2], verbose=0)
    return {
        "trials": trials, "best": max(result.best.sample.scores), "trained": max(Watch.trained),
        "jit": Watch.jit, "apart": Watch.apart, "copies": sorted(Watch.numbers),
        "after": len(copies(model.variables[0])),
    }

results = {name: run(name, *settings) for name, settings in json.loads(searches).items()}
saved = sys.argv[5:]
if saved:
    # A model that another process has saved, on another number of devices.
    model = keras.models.load_model(saved[0])
    results["saved"] = model.evaluate(x[53:76], y[53:76], verbose=0, return_dict=True)["accuracy"]
print(json.dumps(results))
"""


def run(folder: Path, *arguments: Any, backend: str) -> dict[str, Any]:
    parameters = [str(argument) for argument in (folder, *arguments)]
    if backend == keras.backend.backend() == "tensorflow":
        # TensorFlow sets up its devices when it computes for the first time, after this fork.
        printed = folder / f"printed_{len(list(folder.iterdir()))}"
        forked = processes.start(
            processes.source, SEARCHES, str(folder), backend, *parameters, output=printed
        )
        forked.join(1000)
        assert forked.exitcode == 0, processes.errors_of(printed)[-3000:]
        return json.loads(printed.read_text().strip().splitlines()[-1])
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", SEARCHES, backend, *parameters]
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.strip().splitlines()[-1])


def curves(results: dict[str, Any]) -> list[float]:
    completed = [runs for status, _, runs in results["trials"].values() if status == "completed"]
    return [v for runs in completed for record in runs.values() for curve in record.values() for v in curve]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_search_as_one(tmp_path: Path, backend: str) -> None:
    on_two = {"two": ["mirrored", 53, False], "normalized": ["mirrored", 49, True]}
    # TensorFlow cannot run two different models on the same mirrored devices of a process.
    groups = [on_two] if backend == "jax" else [{name: settings} for name, settings in on_two.items()]
    found = {}
    for searches in groups:
        found |= run(tmp_path, 2, json.dumps(searches), backend=backend)
    two, normalized = found["two"], found["normalized"]
    # In a new process with one device.
    one = run(
        tmp_path, 1,
        json.dumps({"one": [None, 52, False], "alone": ["mirrored", 52, False]}),
        tmp_path / "two/results/best_model.keras",
        backend=backend,
    )  # fmt: skip
    saved, one, alone = one["saved"], one["one"], one["alone"]
    assert one["copies"] == [1]
    # Every variable is on both devices, with the same values.
    assert two["copies"] == [2]
    assert two["apart"] == 0.0
    assert {n: t[0] for n, t in two["trials"].items()} == {
        "he_auto": "completed",
        "auto": "completed",
        "all_zeros": "screened",
    }
    assert two["trials"]["all_zeros"][1] == one["trials"]["all_zeros"][1]
    # The last of 53 rows is left out, because it would make the devices' shares of a batch unequal.
    assert curves(two) == pytest.approx(curves(one), abs=2e-3)
    # The race has given each of the two trials a further seed.
    assert all(len(two["trials"][name][2]) == 3 for name in ("he_auto", "auto"))
    # All trials trained the same compiled model, under XLA if the backend allows it.
    assert two["trained"] == 1
    assert set(two["jit"]) == {backend == "jax"}
    # The result is a model of one device, here and in a new process.
    assert two["after"] == 1
    assert saved == pytest.approx(two["best"], abs=1e-6)
    # Batch normalization never gets a batch without rows.
    assert np.isfinite(curves(normalized)).all()
    # With a single device, the strategy changes nothing.
    assert alone == one


class TestBatches:
    @pytest.mark.parametrize(
        ("rows", "batch", "replicas", "kept"),
        [(48, 16, 2, 48), (49, 16, 2, 48), (50, 16, 2, 50), (7, 16, 4, 4), (53, 8, 4, 52), (53, 5, 1, 53)],
    )
    def test_last_batch_is_shared_equally(self, rows: int, batch: int, replicas: int, kept: int) -> None:
        assert Strategy(replicas).even(rows, batch) == kept
        x, y = np.arange(rows)[:, None], np.arange(rows)
        trimmed = FitArguments((x, y), {}).trimmed(kept).values
        np.testing.assert_array_equal(trimmed["x"], x[:kept])
        np.testing.assert_array_equal(trimmed["y"], y[:kept])

    def test_batch_that_cannot_be_shared(self) -> None:
        with pytest.raises(
            InitxError, match=r"^`batch_size` must be a multiple of 2, the number of devices, got 9\."
        ):
            Strategy(2).even(20, 9)

    def test_fewer_rows_than_devices(self) -> None:
        for ask in (lambda s: s.even(3, 4), lambda s: s.evaluation_batch(3)):
            with pytest.raises(
                InitxError, match=r"^`data` has a part of 3 rows, but 4 devices need a row each\."
            ):
                ask(Strategy(4))

    def test_evaluation_in_the_fewest_steps(self) -> None:
        assert [Strategy(2, equal=True).evaluation_batch(n) for n in (23, 24)] == [22, 24]
        assert [Strategy(2).evaluation_batch(n) for n in (23, 24)] == [23, 24]


class TestRefused:
    def test_unknown_name(self, quick: Any, tmp_path: Path) -> None:
        with pytest.raises(
            InitxError, match=r"^`strategy` 'mirored' is not known\. Did you mean 'mirrored'\?"
        ):
            quick(strategy="mirored")
        assert not (tmp_path / "results").exists()

    def test_workers(self, quick: Any, tmp_path: Path) -> None:
        with pytest.raises(
            InitxError, match=r"^`strategy` must be None with workers, got 'mirrored'\. Use only one"
        ):
            quick(strategy="mirrored", workers=Workers(["true"], 2))
        assert not (tmp_path / "results").exists()

    def test_backend_without_strategies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
        with pytest.raises(
            InitxError,
            match=r"^`strategy` must be None on the backend torch, got .*KERAS_BACKEND to tensorflow or jax",
        ):
            strategy_of("mirrored")

    def test_command_line(self, capfd: Any) -> None:
        from keras_initx.cli import app

        assert run_safely(app, ["tune", "--strategy", "mirrored", "--workers", "2"]) == 2
        assert "--strategy must be None with workers, got 'mirrored'." in capfd.readouterr().err


def test_default_is_one_device() -> None:
    assert strategy_of(None) == Strategy()


def test_distribution_strategy_of_keras_tuner(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow has tf.distribute")
    import tensorflow as tf

    result = quick(trials=1, seeds=1, epochs=1, screening=False)
    alone = tf.distribute.OneDeviceStrategy("/cpu:0")
    strategies: list[Any] = []

    class Building(keras_tuner.HyperModel):
        def build(self, hp: Any) -> keras.Model:
            strategies.append(tf.distribute.get_strategy())
            return result.tuner.hypermodel.build(hp)

    tuner = InitializerTuner(
        Building(), "val_accuracy", 1, seeds=[0], distribution_strategy=alone,
        directory=str(result.folders.results), project_name="of_keras_tuner",
    )  # fmt: skip
    before = len(strategies)
    tuner.search(**result.tuner.job.kwargs)
    assert not tuner.job.models.jit_compile
    assert strategies[before:]
    assert all(strategy is alone for strategy in strategies[before:])
