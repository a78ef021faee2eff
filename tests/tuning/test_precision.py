"""Searches in half precision, under the user's dtype policy and with loss scaling."""

from collections.abc import Iterator
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import SearchSpace
from keras_initx.tuning._variables import inner_optimizer
from keras_initx.tuning.data import Batch
from keras_initx.tuning.space.hypermodel import InitializerHyperModel
from keras_initx.tuning.training.callbacks import Schedule
from keras_initx.tuning.training.model_cache import CompiledModels

L = keras.layers
X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
SAMPLE = Batch.of_arrays(X[:8], Y[:8])
FIRST_SCALE = 2.0**15


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16"])
def policy(request: Any) -> Iterator[str]:
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def half() -> Iterator[None]:
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def build(rate: float = 0.01, size: float = 1.0, initializer: str = "glorot_uniform") -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((4,)),
            L.Rescaling(size),
            L.Dense(6, activation="relu", kernel_initializer=initializer),
            L.Dense(2, dtype="float32", kernel_initializer=initializer),
        ]
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.004)
    # The gradient of saturated probabilities would be zero and could not overflow.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def scale(model: keras.Model) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.dynamic_scale))


class TestSearching:
    @pytest.mark.parametrize("jit", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_every_trial_has_the_policy(self, quick: Any, policy: str, jit: bool) -> None:
        models: list[keras.Model] = []

        def recorded() -> keras.Model:
            models.append(build())
            return models[-1]

        result = quick(recorded, tuner="grid", initializers=["he_auto", "all_zeros"], trials=None,
                       learning_rates=[0.05], seeds=1, epochs=1, jit_compile=jit)  # fmt: skip
        assert {m.layers[1].compute_dtype for m in models} == {policy.removeprefix("mixed_")}
        assert {type(m.optimizer).__name__ for m in models} == {
            "LossScaleOptimizer" if policy == "mixed_float16" else "AdamW"
        }
        trials = {t.values["initializer"]: t for t in result.trials}
        assert trials["he_auto"].status == "completed"
        assert trials["all_zeros"].status == "screened"
        assert "equal weights" in trials["all_zeros"].reason
        assert keras.config.dtype_policy().name == policy

    def test_best_model_evaluates_to_its_best_seed(self, quick: Any, pairs: Any, policy: str) -> None:
        result = quick(build, initializers=["he_auto", "auto"], trials=1)
        saved = keras.models.load_model(result.folders.results / "best_model.keras")
        for model in (result.best_model(), saved):
            metrics = model.evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
            assert metrics["accuracy"] == pytest.approx(max(result.best.sample.scores), abs=1e-7)

    def test_model_that_is_passed_keeps_its_policy(self, quick: Any, half: None) -> None:
        model = build()
        keras.config.set_dtype_policy("float32")
        result = quick(model, initializers=["he_auto"], trials=1, seeds=1, epochs=1)
        best = result.best_model()
        assert best.layers[1].compute_dtype == "float16"
        assert isinstance(best.optimizer, keras.optimizers.LossScaleOptimizer)
        assert not isinstance(best.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer)


class TestSettings:
    def test_settings_reach_the_inner_optimizer(self, half: None) -> None:
        hypermodel = InitializerHyperModel(
            build, SearchSpace(["he_auto"], [0.02], weight_decays=[0.3], schedules=["linear"])
        )
        model = hypermodel.build(keras_tuner.HyperParameters())
        inner = inner_optimizer(model.optimizer)
        assert isinstance(inner, keras.optimizers.AdamW)
        assert inner is not model.optimizer
        assert float(keras.ops.convert_to_numpy(inner.learning_rate)) == pytest.approx(0.02)
        assert inner.weight_decay == 0.3

        rates: list[float] = []

        class Watch(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                rates.append(float(keras.ops.convert_to_numpy(inner.learning_rate)))

        model.fit(X, Y, epochs=2, verbose=0, callbacks=[Schedule("linear", 2), Watch()])
        assert rates == pytest.approx([0.02, 0.01])

    @pytest.mark.parametrize("name", ["weight_decays", "learning_rates"])
    def test_settings_change_the_training(self, quick: Any, half: None, name: str) -> None:
        options: dict[str, Any] = {"learning_rates": [0.05], "weight_decays": [0.01], name: [0.02, 0.2]}
        result = quick(build, tuner="grid", trials=None, seeds=1, initializers=["he_auto"], **options)
        one, two = (t.seeds[0]["curves"]["loss"] for t in result.trials)
        assert one != two


class TestReuse:
    def test_history_equals_a_fresh_model(self, policy: str) -> None:
        # The gradients of the first trial overflow, and leave another scale behind.
        settings = [(0.05, 3000.0, 1), (0.01, 1.0, 2), (0.05, 3000.0, 1)]
        models = CompiledModels(False, SAMPLE)

        def train(models: CompiledModels, rate: float, size: float, seed: int) -> Any:
            keras.utils.set_random_seed(seed)
            model = models.adopt(build(rate))
            model.layers[-1].kernel.assign(model.layers[-1].kernel * size)
            history = model.fit(X, Y, epochs=2, batch_size=8, validation_data=(X, Y), verbose=0).history
            if policy == "mixed_float16":
                scales.append(scale(model))
            return history

        scales: list[float] = []
        for setting in settings:
            history = train(models, *setting)
            assert np.isfinite(history["loss"]).all()
            assert history == train(CompiledModels(False, SAMPLE), *setting)
        if policy == "mixed_float16":
            assert scales[0] < scales[2] == FIRST_SCALE
        assert len(models) == 1

    def test_scale_is_reset(self, half: None) -> None:
        models = CompiledModels(False, SAMPLE)
        model = models.adopt(build(size=300.0))
        assert scale(model) == FIRST_SCALE
        model.fit(X, Y, batch_size=8, verbose=0)
        assert scale(model) < FIRST_SCALE
        assert models.adopt(build(size=300.0)) is model
        assert scale(model) == FIRST_SCALE
        assert int(model.optimizer.step_counter) == 0


def test_overflowing_gradient_does_not_end_a_trial(quick: Any, half: None) -> None:
    scales: list[float] = []
    models: list[keras.Model] = []

    class Watch:
        def on_trial_begin(self, trial: Any, seeds: Any) -> None: ...
        def on_seed_end(self, *args: Any) -> None: ...
        def on_trial_end(self, *args: Any) -> None: ...
        def on_epoch_end(self, epochs: int) -> None:
            scales.extend(scale(model) for model in models if model.optimizer.built)

    def overflowing() -> keras.Model:
        models.append(build(size=300.0))
        return models[-1]

    result = quick(overflowing, initializers=["own"], learning_rates=None, trials=1, seeds=1, epochs=5,
                   observers=[Watch()])  # fmt: skip
    assert min(scales) < FIRST_SCALE
    assert result.trials[0].status == "completed", result.trials[0].reason
    assert result.trials[0].seeds[0]["epochs"] == 5
    losses = result.trials[0].seeds[0]["curves"]["loss"]
    assert losses[-1] < losses[0]
