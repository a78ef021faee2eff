"""Pretrained kernels are recognized, warned of, and kept by "own"."""

import warnings
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerHyperModel, SearchSpace
from keras_initx.tuning.space.loaded import loaded_kernels

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

LOADED = 0.01 * np.random.default_rng(0).normal(size=(30, 20)).astype("float32")


def build(load: bool = True, frozen: bool = False, name: Any = "glorot_uniform") -> keras.Model:
    layers = [keras.layers.Dense(20, kernel_initializer=name), keras.layers.Dense(15)]
    model = keras.Sequential([keras.Input((30,)), *layers])
    if load:
        model.layers[0].kernel.assign(LOADED)
    model.layers[0].trainable = not frozen
    model.compile("sgd", "mse")
    return model


def first_kernel(initializer: str, model: Any) -> np.ndarray:
    hp = keras_tuner.HyperParameters()
    hp.values = {"initializer": initializer}
    hypermodel = InitializerHyperModel(model, SearchSpace(["own", "he_auto"]))
    return hypermodel.build(hp).layers[0].get_weights()[0]


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal", "zeros", "he_auto", "auto"])
def test_what_an_initializer_drew_is_not_loaded(name: str) -> None:
    assert list(loaded_kernels(build(load=False, name=name))) == []


def test_loaded_kernels_cause_one_warning() -> None:
    model = build()
    assert list(loaded_kernels(model)) == [model.layers[0].kernel.path]
    hypermodel = InitializerHyperModel(build, SearchSpace(["he_auto"]))
    with pytest.warns(
        UserWarning, match="have values that their initializers do not draw, as pretrained weights do"
    ):
        hypermodel.build(keras_tuner.HyperParameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hypermodel.build(keras_tuner.HyperParameters())


def test_attention_is_not_loaded() -> None:
    inputs = keras.Input((9, 16))
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(8, 8)(inputs, inputs))
    assert list(loaded_kernels(model)) == []


def test_own_draws_again_what_one_initializer_object_drew() -> None:
    """An object of Keras without a seed draws the same values each time, so seeds would not differ."""
    shared = keras.initializers.HeNormal()
    one, other = (first_kernel("own", lambda: build(load=False, name=shared)) for _ in range(2))
    assert not np.array_equal(one, other)


@pytest.mark.filterwarnings("ignore:.*have values that their initializers do not draw:UserWarning")
def test_own_keeps_what_a_function_has_loaded() -> None:
    np.testing.assert_array_equal(first_kernel("own", lambda: build()), LOADED)
    assert not np.array_equal(first_kernel("he_auto", lambda: build()), LOADED)
    # A model that is passed itself stands for its architecture, trained or not.
    assert not np.array_equal(first_kernel("own", build()), LOADED)


def test_frozen_kernels_stay_without_a_warning() -> None:
    np.testing.assert_array_equal(first_kernel("he_auto", lambda: build(frozen=True)), LOADED)
