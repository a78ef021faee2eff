"""A reused compiled model trains exactly as a freshly built one, and is reused only where that holds."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning.training.model_cache import CompiledModels, architecture

pytestmark = pytest.mark.one_backend

L = keras.layers
X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
SAMPLE = (X[:8], Y[:8])

OPTIMIZERS: dict[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adam": lambda rate: keras.optimizers.Adam(rate),
    "momentum": lambda rate: keras.optimizers.SGD(rate, momentum=0.9),
    "adagrad": lambda rate: keras.optimizers.Adagrad(rate),
    "ftrl": lambda rate: keras.optimizers.Ftrl(rate),
}


def build(
    optimizer: Any = None,
    *,
    rate: float = 0.01,
    initializer: str = "glorot_uniform",
    activation: Any = "relu",
    drop: float = 0.3,
    loss: Any = "sparse_categorical_crossentropy",
    regularizer: Any = None,
    momentum: float = 0.9,
    dtype: Any = None,
    name: str | None = None,
    frozen: bool = False,
    units: int = 6,
) -> keras.Model:
    inputs = keras.Input((4,))
    hidden = L.Dense(
        units,
        activation=activation,
        kernel_initializer=initializer,
        kernel_regularizer=regularizer,
        name=name,
        trainable=not frozen,
        dtype=dtype,
    )
    x = L.BatchNormalization(momentum=momentum)(hidden(inputs))
    x = L.Dropout(drop)(x)
    outputs = L.Dense(2, activation="softmax", dtype="float32", kernel_initializer=initializer)(x)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer or keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def plain() -> CompiledModels:
    return CompiledModels(jit_compile=False, sample=SAMPLE)


def train(models: CompiledModels, make: Callable[[], keras.Model], seed: int) -> dict[str, list[float]]:
    keras.utils.set_random_seed(seed)
    fit = models.adopt(make()).fit(X, Y, epochs=2, batch_size=8, validation_data=(X, Y), verbose=0)
    return fit.history


@pytest.mark.parametrize(
    ("optimizer", "jit"),
    [*((name, False) for name in OPTIMIZERS), pytest.param("adam", True, marks=pytest.mark.slow)],
)
def test_a_reused_model_has_the_history_of_a_fresh_one(optimizer: str, jit: bool) -> None:
    settings = [("glorot_uniform", 0.05, 1), ("he_normal", 0.01, 2), ("glorot_uniform", 0.05, 1)]
    models = CompiledModels(jit, SAMPLE)
    for initializer, rate, seed in settings:
        make = lambda: build(OPTIMIZERS[optimizer](rate), initializer=initializer)  # noqa: B023, E731
        reused = train(models, make, seed)
        fresh = train(CompiledModels(jit, SAMPLE), make, seed)
        assert reused.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
        assert reused == fresh
    assert len(models) == 1


def test_the_history_is_that_of_keras_alone() -> None:
    train(models := plain(), build, 1)
    reused = train(models, build, 2)
    keras.utils.set_random_seed(2)
    model = build()
    model.jit_compile = False
    # On JAX an unbuilt metric costs the first fit a batch, and so a shuffle.
    model.evaluate(X, Y, verbose=0)
    alone = model.fit(X, Y, epochs=2, batch_size=8, validation_data=(X, Y), verbose=0).history
    assert reused == alone


def test_weights_rate_and_optimizer_are_those_of_the_fresh_model() -> None:
    models = plain()
    first = models.adopt(build(rate=0.05))
    first.fit(X, Y, verbose=0)
    fresh = build(rate=0.002, initializer="he_normal")
    ready = models.adopt(fresh)
    assert ready is first
    for kept, new in zip(ready.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, new)
    assert float(ready.optimizer.learning_rate) == pytest.approx(0.002)
    assert int(ready.optimizer.iterations) == 0
    assert all(not np.any(keras.ops.convert_to_numpy(v)) for v in ready.optimizer.variables[2:])


@pytest.mark.parametrize(
    "changes",
    [{"initializer": "he_auto"}, {"rate": 0.5}, {"name": "another"}, {"name": "relu"}],
    ids=lambda c: next(iter(c)),
)
def test_models_that_differ_in_what_no_trace_freezes_share_one(changes: dict[str, Any]) -> None:
    models = plain()
    first = models.adopt(build())
    assert models.adopt(build(**changes)) is first
    assert models.adopt(build()) is first
    assert len(models) == 1


def clipped(**kwargs: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(0.01, **kwargs)


def focal(gamma: float) -> Callable[[Any, Any], Any]:
    def loss(y: Any, p: Any) -> Any:
        return gamma * keras.losses.sparse_categorical_crossentropy(y, p)

    return loss


def steep(slope: float) -> Callable[[Any], Any]:
    def activation(x: Any) -> Any:
        return slope * x

    return activation


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ({"optimizer": lambda: clipped()}, {"optimizer": lambda: clipped(weight_decay=0.1)}),
        ({"optimizer": lambda: clipped()}, {"optimizer": lambda: clipped(beta_1=0.5)}),
        ({"optimizer": lambda: clipped(clipnorm=1.0)}, {"optimizer": lambda: clipped(clipnorm=2.0)}),
        ({}, {"optimizer": lambda: keras.optimizers.SGD(0.01)}),
        ({}, {"drop": 0.4}),
        ({}, {"activation": "tanh"}),
        ({"activation": L.LeakyReLU(0.1)}, {"activation": L.LeakyReLU(0.3)}),
        ({}, {"loss": keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)}),
        ({}, {"frozen": True}),
        ({}, {"dtype": "mixed_bfloat16"}),
        ({"regularizer": keras.regularizers.L2(0.1)}, {"regularizer": keras.regularizers.L2(0.2)}),
        ({}, {"momentum": 0.5}),
        ({}, {"units": 7}),
        # Their configs tell only the name of the inner function, which is the same.
        ({"loss": focal(1.0)}, {"loss": focal(2.0)}),
        ({"activation": steep(1.0)}, {"activation": steep(2.0)}),
    ],
    ids=[
        "weight_decay",
        "beta",
        "clipnorm",
        "optimizer",
        "dropout",
        "activation",
        "slope",
        "loss",
        "trainable",
        "dtype",
        "l2",
        "momentum",
        "units",
        "loss_closure",
        "activation_closure",
    ],
)
def test_models_that_differ_in_what_a_trace_freezes_get_their_own(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    def make(given: dict[str, Any]) -> keras.Model:
        return build(**{k: v() if k == "optimizer" else v for k, v in given.items()})

    models = plain()
    first = models.adopt(make(one))
    second = models.adopt(make(two))
    assert second is not first
    assert models.adopt(make(one)) is not second


def test_a_layer_may_be_called_like_an_activation() -> None:
    def model(first: str, second: str) -> keras.Model:
        inputs = keras.Input((4,))
        x = L.Dense(6, activation=first, name="tanh")(inputs)
        x = L.Dense(6, activation=second, name="relu")(x)
        made = keras.Model(inputs, L.Dense(2, activation="softmax", name="softmax")(x))
        made.compile("sgd", "sparse_categorical_crossentropy")
        return made

    models = plain()
    settings = [("relu", "tanh"), ("tanh", "relu"), ("relu", "relu")]
    ready = [models.adopt(model(*setting)) for setting in settings]
    assert len(set(map(id, ready))) == len(models) == 3
    assert [models.adopt(model(*setting)) for setting in settings] == ready


def test_the_wiring_matters() -> None:
    def model(other: bool) -> keras.Model:
        inputs = keras.Input((4,))
        a = L.Dense(4)(inputs)
        b = L.Dense(4)(a)
        made = keras.Model(inputs, L.Dense(1)(L.subtract([b, a] if other else [a, b])))
        made.compile("sgd", "mse")
        return made

    models = plain()
    first = models.adopt(model(False))
    assert models.adopt(model(True)) is not first
    assert models.adopt(model(False)) is first


def test_a_standardization_that_was_adapted_to_other_data_is_another_model() -> None:
    def model(scale: float) -> keras.Model:
        standardize = L.Normalization()
        standardize.adapt(X * scale)
        made = keras.Sequential([keras.Input((4,)), standardize, L.Dense(2, activation="softmax")])
        made.compile("sgd", "sparse_categorical_crossentropy")
        return made

    models = plain()
    first = models.adopt(model(1.0))
    first.fit(X, Y, verbose=0)
    assert models.adopt(model(1.0)) is first
    # Its mean is a constant of the trace, and no variable.
    assert models.adopt(model(5.0)) is not first


class Subclassed(keras.Model):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.dense, self.slope = L.Dense(1), slope

    def call(self, inputs: Any) -> Any:
        return self.slope * self.dense(inputs)


class _Gentle(keras.losses.Loss):
    """A loss of the user's own, whose config does not tell its strength."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.strength * keras.ops.mean(keras.ops.square(y_pred), axis=-1)


class _Quiet(keras.metrics.Mean):
    """A metric of the user's own."""


class _OwnStep(keras.Sequential):
    """A model of the user's own, of which `isinstance` says Sequential."""


class _OwnRegularizer(keras.regularizers.Regularizer):
    def __call__(self, x: Any) -> Any:
        return keras.ops.sum(x)


def _scaled(factor: float) -> type[L.Layer]:
    class Scaled(L.Layer):
        def call(self, inputs: Any) -> Any:
            return factor * inputs

    return Scaled


def _without_decay() -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def relu(x: Any) -> Any:
    """The user's own, called like one of Keras's."""
    return -x


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": _Gentle(5.0)},
        {"metrics": [_Quiet()]},
        {"model": _OwnStep},
        {"layer": _scaled(1.0)},
        {"activation": relu},
        {"optimizer": _without_decay()},
        {"regularizer": _OwnRegularizer()},
    ],
    ids=lambda s: next(iter(s)),
)
def test_what_is_not_keras_own_is_never_reused(settings: dict[str, Any]) -> None:
    def build() -> keras.Model:
        # Names start anew, as in a search: else two models would differ by them alone.
        keras.utils.clear_session(free_memory=False)
        kind = settings.get("model", keras.Sequential)
        made = kind(
            [
                keras.Input((4,)),
                settings.get("layer", L.Dropout)(**({} if "layer" in settings else {"rate": 0.1})),
                L.Dense(
                    3,
                    activation=settings.get("activation", "relu"),
                    kernel_regularizer=settings.get("regularizer"),
                ),
            ]
        )
        made.compile(
            settings.get("optimizer", keras.optimizers.Adam(1e-3)),
            settings.get("loss", "sparse_categorical_crossentropy"),
            metrics=settings.get("metrics"),
        )
        return made

    assert architecture(build()) is None


def test_a_subclassed_model_is_never_reused() -> None:
    def model(slope: float) -> keras.Model:
        made = Subclassed(slope)
        made(X[:1])
        made.compile("sgd", "mse")
        return made

    models = plain()
    made = [model(1.0), model(1.0)]
    assert [models.adopt(m) for m in made] == made
    assert len(models) == 0


def test_a_learning_rate_schedule_is_never_reused() -> None:
    def model() -> keras.Model:
        return build(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)))

    models = plain()
    made = [model(), model()]
    assert [models.adopt(m) for m in made] == made
    assert len(models) == 0
    made[1].fit(X, Y, verbose=0)


def test_capacity_evicts_the_one_not_used_for_longest() -> None:
    models = CompiledModels(False, SAMPLE, capacity=2)
    first, second = models.adopt(build(units=2)), models.adopt(build(units=3))
    assert models.adopt(build(units=2)) is first
    models.adopt(build(units=4))
    assert len(models) == 2
    assert models.adopt(build(units=2)) is first
    assert models.adopt(build(units=3)) is not second


def test_the_probe_leaves_weights_and_optimizer_as_they_were() -> None:
    model = build()
    model.optimizer.build(model.trainable_variables)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in (*model.variables, *model.optimizer.variables)]
    ready = CompiledModels(True, SAMPLE).ready(model)
    assert ready.jit_compile is True
    after = [keras.ops.convert_to_numpy(v) for v in (*ready.variables, *ready.optimizer.variables)]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)
    assert ready.get_metrics_result()["loss"] == 0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow leaves the traced graph")
@pytest.mark.parametrize("function", ["numpy_function", "py_function"])
def test_what_xla_cannot_compile_is_trained_without_it(function: str) -> None:
    import tensorflow as tf

    class OnTheHost(L.Layer):
        def call(self, inputs: Any) -> Any:
            kept = getattr(tf, function)(lambda x: np.asarray(x), [tf.stop_gradient(inputs)], tf.float32)
            kept.set_shape(inputs.shape)
            return inputs + kept

    def model() -> keras.Model:
        made = keras.Sequential([keras.Input((4,)), OnTheHost(), L.Dense(2, activation="softmax")])
        made.compile("sgd", "sparse_categorical_crossentropy")
        return made

    models = CompiledModels(True, SAMPLE)
    fresh = model()
    weights = fresh.get_weights()
    with pytest.warns(
        UserWarning, match=r"XLA cannot compile .* Reason: .*PyFunc.*jit_compile=False"
    ) as caught:
        ready = models.adopt(fresh)
    assert sum("XLA cannot" in str(w.message) for w in caught) == 1
    assert ready.jit_compile is False
    for one, two in zip(weights, ready.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(ready.optimizer.iterations) == 0
    assert np.isfinite(ready.fit(X, Y, verbose=0, validation_data=(X, Y)).history["val_loss"]).all()


@pytest.mark.parametrize("jit", [True, False])
def test_an_error_of_the_users_own_is_raised(jit: bool) -> None:
    class Broken(L.Layer):
        def call(self, inputs: Any, training: bool = False) -> Any:
            if training:
                raise LookupError("of the user's own")
            return inputs

    model = keras.Sequential([keras.Input((4,)), Broken(), L.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    models = CompiledModels(jit, SAMPLE)
    with pytest.raises(LookupError, match="of the user's own"):
        models.adopt(model).fit(X, Y, verbose=0)
