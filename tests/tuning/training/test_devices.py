"""Trials that several devices train together: the search of one device, but for the rounding."""

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
from keras_initx.tuning import InitializerTuner, OptunaOracle
from keras_initx.tuning.parallel.workers import Workers
from keras_initx.tuning.training.devices import Strategy, strategy_of

from keras_initx import InitxError
from keras_initx.cli.common import run_safely

# Two devices are a matter of the whole process, and to be told before anything else is.
SEARCH = """
import json, os, sys
backend, strategy, folder, devices, rows, normalized = sys.argv[1:7]
os.environ["KERAS_BACKEND"] = backend
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
if backend == "tensorflow":
    import tensorflow as tf
    parts = [tf.config.LogicalDeviceConfiguration()] * int(devices)
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
import keras
import numpy as np
from keras_initx.tuning import search

x = np.random.default_rng(0).normal(size=(86, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
rows = slice(int(rows)), slice(53, 76), slice(76, 86)
made = []

def build():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(6, activation="tanh")(inputs)
    if normalized == "True":
        hidden = keras.layers.BatchNormalization()(hidden)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(hidden))
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy", metrics=["accuracy"])
    made.append(model)
    return model

def copies(variable):
    value = variable.value
    if backend == "jax":
        return [shard.data for shard in value.addressable_shards]
    return getattr(value, "values", [value])

def number(variable):
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(variable)))

class Watch:
    trained, jit, apart, numbers = [], [], 0.0, set()
    def on_trial_begin(self, trial, seeds): ...
    def on_epoch_end(self, epochs): ...
    def on_trial_end(self, trial, status): ...
    def on_seed_end(self, trial, seed, record, skipped):
        # That of the check before the search was trained on one device.
        used = [m for m in made if not m.run_eagerly and m.optimizer.built and number(m.optimizer.iterations)]
        self.trained.append(len(used))
        for model in used:
            self.jit.append(bool(model.jit_compile))
            for variable in [*model.trainable_variables, *model.optimizer.variables]:
                one, *others = [np.asarray(c) for c in copies(variable)]
                Watch.numbers.add(1 + len(others))
                Watch.apart = max([self.apart, *(float(abs(o - one).max()) for o in others)])

result = search(
    build, [(x[r], y[r]) for r in rows], tuner="grid", epochs=3, seeds=2, batch_size=16, extra_seeds=2,
    learning_rates=[0.03], initializers=["he_auto", "all_zeros", "auto"], results=folder + "/results",
    logs=folder + "/logs", quiet=True, strategy=None if strategy == "None" else strategy, observers=[Watch()],
)
trials = {t.values["initializer"]: [t.status, t.reason, {s: r["curves"] for s, r in t.seeds.items()}]
          for t in result.trials}
after = keras.random.normal((2,)) + result.best_model().predict(x[:2], verbose=0)
print(json.dumps({
    "trials": trials, "best": max(result.best.sample.scores), "trained": max(Watch.trained), "jit": Watch.jit,
    "apart": Watch.apart, "copies": sorted(Watch.numbers),
    "after": len(copies(result.best_model().variables[0])),
}))
"""

# In another process, and on one device.
LOAD = """
import sys
import keras
import numpy as np
import keras_initx
x = np.random.default_rng(0).normal(size=(86, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
model = keras.models.load_model(sys.argv[1] + "/results/best_model.keras")
print(model.evaluate(x[53:76], y[53:76], verbose=0, return_dict=True)["accuracy"])
"""


def run(program: str, *arguments: Any, backend: str = "tensorflow") -> str:
    environment = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-W", "error::UserWarning", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def curves(found: dict[str, Any], rows: slice = slice(None)) -> list[float]:
    done = {name: runs for name, (status, _, runs) in found["trials"].items() if status == "completed"}
    return [v for runs in done.values() for r in runs.values() for curve in r.values() for v in curve[rows]]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
class TestTwoDevices:
    @pytest.fixture
    def search(self, tmp_path: Path, backend: str) -> Any:
        def start(strategy: str | None, devices: int, rows: int, normalized: bool = False) -> Any:
            folder = tmp_path / f"{strategy}{devices}"
            found = json.loads(
                run(SEARCH, backend, strategy, folder, devices, rows, normalized, backend=backend)
            )
            return found, folder

        return start

    def test_the_search_is_that_of_one(self, search: Any, backend: str) -> None:
        (one, _), (two, folder) = search(None, 1, 52), search("mirrored", 2, 53)
        assert one["copies"] == [1]
        # Every variable is on both devices, and has the same values there.
        assert two["copies"] == [2]
        assert two["apart"] == 0.0
        assert {n: t[0] for n, t in two["trials"].items()} == {
            "he_auto": "completed",
            "auto": "completed",
            "all_zeros": "screened",
        }
        assert two["trials"]["all_zeros"][1] == one["trials"]["all_zeros"][1]
        # Of 53 rows the last is left out, by which a batch would be shared unequally.
        assert curves(two) == pytest.approx(curves(one), abs=2e-3)
        # The race has given each of the two a further seed.
        assert all(len(two["trials"][name][2]) == 3 for name in ("he_auto", "auto"))
        # All trials trained the same compiled model, under XLA where that can be.
        assert two["trained"] == 1
        assert set(two["jit"]) == {backend == "jax"}
        # What comes out is a model of one device, here and in a new process.
        assert two["after"] == 1
        assert float(run(LOAD, folder, backend=backend)) == pytest.approx(two["best"], abs=1e-6)

    def test_batch_normalization_meets_no_device_without_rows(self, search: Any) -> None:
        two, _ = search("mirrored", 2, 49, normalized=True)
        assert np.isfinite(curves(two)).all()

    def test_a_device_that_is_alone(self, search: Any) -> None:
        (one, _), (alone, _) = search(None, 1, 52), search("mirrored", 1, 52)
        assert alone == one


class TestShares:
    @pytest.mark.parametrize(
        ("rows", "batch", "replicas", "kept"),
        [(48, 16, 2, 48), (49, 16, 2, 48), (50, 16, 2, 50), (7, 16, 4, 4), (53, 8, 4, 52), (53, 5, 1, 53)],
    )
    def test_the_last_batch_is_shared_equally(self, rows: int, batch: int, replicas: int, kept: int) -> None:
        x, y = np.arange(rows)[:, None], np.arange(rows)
        found = Strategy(replicas).trim((x, y), batch)
        np.testing.assert_array_equal(found[0], x[:kept])
        np.testing.assert_array_equal(found[1], y[:kept])

    def test_a_batch_that_cannot_be_shared(self) -> None:
        with pytest.raises(InitxError, match=r"^batch_size: received 9; allowed: a multiple of 2"):
            Strategy(2).trim((np.zeros(20), np.zeros(20)), 9)

    def test_fewer_rows_than_devices(self) -> None:
        for ask in (lambda s: s.trim((np.zeros(3), np.zeros(3)), 4), lambda s: s.evaluation_batch(3)):
            with pytest.raises(InitxError, match=r"^data: received '3 rows'; allowed: one for each of 4"):
                ask(Strategy(4))

    def test_evaluation_in_the_fewest_steps(self) -> None:
        assert [Strategy(2, equal=True).evaluation_batch(n) for n in (23, 24)] == [22, 24]
        assert [Strategy(2).evaluation_batch(n) for n in (23, 24)] == [23, 24]


class TestRefused:
    def test_another_name(self, quick: Any, tmp_path: Path) -> None:
        with pytest.raises(InitxError, match=r"^strategy: received 'mirored'.*Did you mean 'mirrored'\?"):
            quick(strategy="mirored")
        assert not (tmp_path / "results").exists()

    def test_several_workers(self, quick: Any, tmp_path: Path) -> None:
        with pytest.raises(InitxError, match=r"^strategy: received 'mirrored'; allowed: None with workers"):
            quick(strategy="mirrored", workers=Workers(["true"], 2))
        assert not (tmp_path / "results").exists()

    def test_another_backend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
        with pytest.raises(InitxError, match=r"^strategy: .*None on the backend torch; tensorflow or jax"):
            strategy_of("mirrored")

    def test_of_the_shell(self, capfd: Any) -> None:
        from keras_initx.cli import app

        assert run_safely(app, ["tune", "--strategy", "mirrored", "--workers", "2"]) == 2
        said = capfd.readouterr().err
        assert said.startswith("error: --strategy: received 'mirrored'; allowed: None with workers.")


def test_one_device_is_no_strategy() -> None:
    assert strategy_of(None) == Strategy()


def test_a_strategy_of_keras_tuner(quick: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.distribute is of TensorFlow")
    import tensorflow as tf

    result = quick(trials=1)
    alone = tf.distribute.OneDeviceStrategy("/cpu:0")
    made: list[Any] = []

    class Building(keras_tuner.HyperModel):
        def build(self, hp: Any) -> keras.Model:
            made.append(tf.distribute.get_strategy())
            return result.tuner.hypermodel.build(hp)

    tuner = InitializerTuner(
        OptunaOracle("val_accuracy", 1), Building(), result.tuner.train, result.tuner.validation,
        seeds=[0], epochs=1, batch_size=16, distribution_strategy=alone,
        directory=str(result.folders.results), project_name="of_keras_tuner",
    )  # fmt: skip
    assert not tuner.models.jit_compile
    before = len(made)
    tuner.search()
    assert made[before:]
    assert all(strategy is alone for strategy in made[before:])
