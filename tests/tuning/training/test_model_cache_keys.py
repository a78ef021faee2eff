"""Models that could train differently are never reused for each other."""

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras_initx.tuning.training.model_cache import architecture

from tests.tuning.training.cached_models import L, Unprepared, X, Y, build, plain

pytestmark = pytest.mark.one_backend


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
