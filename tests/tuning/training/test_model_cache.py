"""A reused compiled model trains exactly as a fresh one, and models that could differ are never reused."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning._variables import optimizer_state, values_of
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


class Unprepared(CompiledModels):
    """A cache that skips the training step of a new model, for tests of which models are the same."""

    def __init__(self, capacity: int = 16) -> None:
        super().__init__(jit_compile=False, sample=SAMPLE, capacity=capacity)

    def _prepare(self, model: keras.Model) -> list[np.ndarray]:
        model.optimizer.build(model.trainable_variables)
        return values_of(optimizer_state(model.optimizer))


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
    # The first model of a cache is the fresh one itself.
    histories = []
    models = CompiledModels(jit, SAMPLE)
    for initializer, rate, seed in settings:
        make = lambda: build(OPTIMIZERS[optimizer](rate), initializer=initializer)  # noqa: B023, E731
        histories.append(train(models, make, seed))
        assert histories[-1].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
        if len(histories) == 2:
            assert histories[-1] == train(CompiledModels(jit, SAMPLE), make, seed)
    assert histories[2] == histories[0]
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


@pytest.mark.parametrize(
    "changes",
    [{"initializer": "he_auto"}, {"rate": 0.5}, {"name": "another"}, {"name": "relu"}],
    ids=lambda c: next(iter(c)),
)
def test_models_that_differ_only_in_untraced_settings_share_one(changes: dict[str, Any]) -> None:
    models = Unprepared()
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
        # Their configs contain only the name of the inner function, which is the same.
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
def test_models_that_differ_in_traced_settings_are_kept_apart(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    def make(settings: dict[str, Any]) -> keras.Model:
        return build(**{k: v() if k == "optimizer" else v for k, v in settings.items()})

    models = Unprepared()
    first = models.adopt(make(one))
    second = models.adopt(make(two))
    assert second is not first
    assert models.adopt(make(one)) is not second


def test_layer_may_have_the_name_of_an_activation() -> None:
    def make(first: str, second: str) -> keras.Model:
        inputs = keras.Input((4,))
        x = L.Dense(6, activation=first, name="tanh")(inputs)
        x = L.Dense(6, activation=second, name="relu")(x)
        model = keras.Model(inputs, L.Dense(2, activation="softmax", name="softmax")(x))
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    models = Unprepared()
    settings = [("relu", "tanh"), ("tanh", "relu"), ("relu", "relu")]
    adopted = [models.adopt(make(*setting)) for setting in settings]
    assert len(set(map(id, adopted))) == len(models) == 3
    assert [models.adopt(make(*setting)) for setting in settings] == adopted


def test_order_of_connections_matters() -> None:
    def make(other: bool) -> keras.Model:
        inputs = keras.Input((4,))
        a = L.Dense(4)(inputs)
        b = L.Dense(4)(a)
        model = keras.Model(inputs, L.Dense(1)(L.subtract([b, a] if other else [a, b])))
        model.compile("sgd", "mse")
        return model

    models = Unprepared()
    first = models.adopt(make(False))
    assert models.adopt(make(True)) is not first
    assert models.adopt(make(False)) is first


def test_normalization_adapted_to_other_data_is_another_model() -> None:
    def make(scale: float) -> keras.Model:
        standardize = L.Normalization()
        standardize.adapt(X * scale)
        model = keras.Sequential([keras.Input((4,)), standardize, L.Dense(2, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    models = plain()
    first = models.adopt(make(1.0))
    first.fit(X, Y, verbose=0)
    assert models.adopt(make(1.0)) is first
    # Its mean is a constant of the trace, not a variable.
    assert models.adopt(make(5.0)) is not first


class Subclassed(keras.Model):
    def __init__(self, slope: float) -> None:
        super().__init__()
        self.dense, self.slope = L.Dense(1), slope

    def call(self, inputs: Any) -> Any:
        return self.slope * self.dense(inputs)


class _Gentle(keras.losses.Loss):
    """A user's loss whose config lacks its strength."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.strength * keras.ops.mean(keras.ops.square(y_pred), axis=-1)


class _Quiet(keras.metrics.Mean):
    """A user's metric."""


class _OwnStep(keras.Sequential):
    """A user's subclass of Sequential."""


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
    """A user's function with the name of one of Keras."""
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
def test_code_from_outside_of_keras_is_never_reused(settings: dict[str, Any]) -> None:
    def build() -> keras.Model:
        # Names restart, as in a search; otherwise two models would differ in their names alone.
        keras.utils.clear_session(free_memory=False)
        kind = settings.get("model", keras.Sequential)
        model = kind(
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
        model.compile(
            settings.get("optimizer", keras.optimizers.Adam(1e-3)),
            settings.get("loss", "sparse_categorical_crossentropy"),
            metrics=settings.get("metrics"),
        )
        return model

    assert architecture(build()) is None


def test_subclassed_model_is_never_reused() -> None:
    def make(slope: float) -> keras.Model:
        model = Subclassed(slope)
        model(X[:1])
        model.compile("sgd", "mse")
        return model

    models = Unprepared()
    fresh = [make(1.0), make(1.0)]
    assert [models.adopt(m) for m in fresh] == fresh
    assert len(models) == 0


def test_learning_rate_schedule_is_never_reused() -> None:
    def make() -> keras.Model:
        return build(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)))

    models = Unprepared()
    fresh = [make(), make()]
    assert [models.adopt(m) for m in fresh] == fresh
    assert len(models) == 0
    fresh[1].fit(X, Y, verbose=0)


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

        options = {"model": build_noisy, "learning_rates": None, "trials": 1, "seeds": 2, "tuner": "random"}
        screened = quick(**options, results=tmp_path / "screened", logs=tmp_path / "1")
        assert len(prepared) == 2
        unscreened = quick(**options, results=tmp_path / "plain", logs=tmp_path / "2", screening=False)
        assert len(prepared) == 2 * 2
        assert curves(screened) == curves(unscreened)

    def test_builds_of_another_shape_are_not_the_same_model(self, prepared: list[keras.Model]) -> None:
        models = CompiledModels(False, (np.zeros((6, 4), "float32"), np.zeros(6, int)))
        first = models.adopt(build_noisy(8))
        other = build_noisy(9)
        assert models.adopt(other, first) is other
        assert models.adopt(build_noisy(8), first) is first
        assert len(prepared) == 2
