"""A reused compiled model trains exactly as a fresh one."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning.data import Batch
from keras_initx.tuning.training.model_cache import CompiledModels

from tests.tuning.training.cached_models import SAMPLE, L, Unprepared, X, Y, build, plain

pytestmark = pytest.mark.one_backend

OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adam": lambda rate: keras.optimizers.Adam(rate),
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "adagrad": lambda rate: keras.optimizers.Adagrad(rate),
    "ftrl": lambda rate: keras.optimizers.Ftrl(rate),
}


def train(models: CompiledModels, make: Callable[[], keras.Model], seed: int) -> dict[str, list[float]]:
    keras.utils.set_random_seed(seed)
    fit = models.adopt(make()).fit(X, Y, epochs=2, batch_size=8, validation_data=(X, Y), verbose=0)
    return fit.history


@pytest.mark.parametrize(
    ("optimizer", "jit"),
    [*((name, False) for name in OPTIMIZERS), pytest.param("adam", True, marks=pytest.mark.slow)],
)
def test_reused_model_has_the_history_of_a_fresh_one(optimizer: str, jit: bool) -> None:
    settings = [("glorot_uniform", 0.05, 1), ("he_normal", 0.01, 2), ("glorot_uniform", 0.05, 1)]
    models = CompiledModels(jit, SAMPLE)
    for initializer, rate, seed in settings:
        make = lambda: build(OPTIMIZERS[optimizer](rate), initializer=initializer)  # noqa: B023, E731
        reused = train(models, make, seed)
        fresh = train(CompiledModels(jit, SAMPLE), make, seed)
        assert reused.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert reused == fresh
    assert len(models) == 1


def test_history_equals_plain_keras() -> None:
    train(models := plain(), build, 1)
    reused = train(models, build, 2)
    keras.utils.set_random_seed(2)
    model = build()
    model.jit_compile = False
    # On JAX the first fit takes a batch to build the metrics, and so shuffles once more.
    model.evaluate(X, Y, verbose=0)
    plain_keras = model.fit(X, Y, epochs=2, batch_size=8, validation_data=(X, Y), verbose=0).history
    assert reused == plain_keras


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends compile the step itself")
def test_fit_runs_the_step_that_was_traced_for_the_sample() -> None:
    traced = []

    class Noting(L.Layer):
        def call(self, x: Any) -> Any:
            traced.append(x.shape)
            return x

    model = keras.Sequential([keras.Input((4,)), Noting(), L.Dense(2, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model = plain().adopt(model)
    before = len(traced)
    model.fit(X, Y, batch_size=8, verbose=0)
    assert len(traced) == before


def test_weights_and_rate_are_adopted_and_the_optimizer_is_reset() -> None:
    models = plain()
    first = models.adopt(build(rate=0.05))
    first.fit(X, Y, verbose=0)
    fresh = build(rate=0.002, initializer="he_normal")
    adopted = models.adopt(fresh)
    assert adopted is first
    for reused, new in zip(adopted.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(reused, new)
    assert float(adopted.optimizer.learning_rate) == pytest.approx(0.002)
    assert int(adopted.optimizer.iterations) == 0
    assert all(not np.any(keras.ops.convert_to_numpy(v)) for v in adopted.optimizer.variables[2:])


def test_capacity_evicts_the_least_recently_used() -> None:
    models = Unprepared(capacity=2)
    first, second = models.adopt(build(units=2)), models.adopt(build(units=3))
    assert models.adopt(build(units=2)) is first
    models.adopt(build(units=4))
    assert len(models) == 2
    assert models.adopt(build(units=2)) is first
    assert models.adopt(build(units=3)) is not second


def test_preparation_restores_weights_and_optimizer() -> None:
    model = build()
    model.optimizer.build(model.trainable_variables)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in (*model.variables, *model.optimizer.variables)]
    adopted = CompiledModels(True, SAMPLE).adopt(model)
    assert adopted.jit_compile is True
    after = [keras.ops.convert_to_numpy(v) for v in (*adopted.variables, *adopted.optimizer.variables)]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)
    assert adopted.get_metrics_result()["loss"] == 0


@pytest.mark.parametrize("jit", [True, False])
def test_the_setting_of_the_search_replaces_that_of_the_model(jit: bool) -> None:
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=not jit)
    assert model.jit_compile is not jit
    assert CompiledModels(jit, SAMPLE).adopt(model).jit_compile is jit


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow leaves the traced graph")
@pytest.mark.parametrize("function", ["numpy_function", "py_function"])
def test_model_that_xla_cannot_compile_is_trained_without_it(function: str) -> None:
    import tensorflow as tf

    class OnTheHost(L.Layer):
        def call(self, inputs: Any) -> Any:
            copy = getattr(tf, function)(lambda x: np.asarray(x), [tf.stop_gradient(inputs)], tf.float32)
            copy.set_shape(inputs.shape)
            return inputs + copy

    def make() -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), OnTheHost(), L.Dense(2, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    models = CompiledModels(True, SAMPLE)
    fresh = make()
    weights = fresh.get_weights()
    with pytest.warns(
        UserWarning, match=r"XLA cannot compile .* Reason: .*PyFunc.*jit_compile=False"
    ) as caught:
        adopted = models.adopt(fresh)
    assert sum("XLA cannot" in str(w.message) for w in caught) == 1
    assert adopted.jit_compile is False
    for one, two in zip(weights, adopted.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(adopted.optimizer.iterations) == 0
    assert np.isfinite(adopted.fit(X, Y, verbose=0, validation_data=(X, Y)).history["val_loss"]).all()


@pytest.mark.parametrize("jit", [True, False])
def test_error_of_the_user_is_raised(jit: bool) -> None:
    class Broken(L.Layer):
        def call(self, inputs: Any, training: bool = False) -> Any:
            if training:
                raise LookupError("an error of the user")
            return inputs

    model = keras.Sequential([keras.Input((4,)), Broken(), L.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    models = CompiledModels(jit, SAMPLE)
    with pytest.raises(LookupError, match="an error of the user"):
        models.adopt(model).fit(X, Y, verbose=0)


class Noisy(L.Layer):
    """A user's layer, so that no other model is reused in place of its model."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop = L.Dropout(0.3)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.drop(x, training=training)


def build_noisy(width: int = 8) -> keras.Model:
    layers = [L.Dense(width, "relu"), L.BatchNormalization(), Noisy()]
    model = keras.Sequential([keras.Input((4,)), *layers, L.Dense(3, activation="softmax")])
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 5, 0.9)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class TestSameModel:
    """The screened model is the one that is trained, even if no model is ever reused."""

    @pytest.fixture
    def prepared(self, monkeypatch: Any) -> list[keras.Model]:
        """The models that were prepared for training."""
        prepare, models = CompiledModels._prepare, []

        def counted(cache: CompiledModels, model: keras.Model) -> Any:
            models.append(model)
            return prepare(cache, model)

        monkeypatch.setattr(CompiledModels, "_prepare", counted)
        return models

    def test_screening_compiles_no_second_model_and_changes_no_history(
        self, quick: Any, prepared: list[keras.Model], tmp_path: Any
    ) -> None:
        def curves(result: Any) -> list[Any]:
            return [[record["curves"] for record in trial.seeds.values()] for trial in result.trials]

        options = {"model": build_noisy, "learning_rates": None, "trials": 2, "seeds": 2, "tuner": "random"}
        screened = quick(**options, results=tmp_path / "screened", logs=tmp_path / "1")
        assert len(prepared) == 2 * 2
        unscreened = quick(**options, results=tmp_path / "plain", logs=tmp_path / "2", screening=False)
        assert len(prepared) == 2 * 2 * 2
        assert curves(screened) == curves(unscreened)

    def test_builds_of_another_shape_are_not_the_same_model(self, prepared: list[keras.Model]) -> None:
        models = CompiledModels(False, Batch.of_arrays(np.zeros((6, 4), "float32"), np.zeros(6, int)))
        first = models.adopt(build_noisy(8))
        other = build_noisy(9)
        assert models.adopt(other, first) is other
        assert models.adopt(build_noisy(8), first) is first
        assert len(prepared) == 2
