"""The layers around each weight, what is frozen, and the names for patterns."""

import keras
import pytest
from keras import layers

from keras_initx._weights.index import WeightIndex
from keras_initx._weights.layers import all_layers

pytestmark = pytest.mark.check


@pytest.fixture
def model():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="deep")], name="inner")
    return keras.Sequential([keras.Input((4,)), inner, layers.Dense(2, name="last")], name="outer")


def test_a_weight_belongs_to_the_innermost_layer(model):
    index = WeightIndex(all_layers(model))
    deep = model.layers[0].layers[0]
    assert index.of(deep.kernel) == (deep, "kernel")
    assert {"deep", "inner", "outer"} <= set(index.names(deep.kernel))
    assert [v.path for v in index.variables()] == [v.path for v in model.variables]
    assert not index.has(layers.Dense(1))
    assert index.fans(deep.kernel).fan_in == 4


@pytest.mark.parametrize("outer", [True, False])
def test_a_layer_around_freezes_a_weight(model, outer):
    deep = model.layers[0].layers[0]
    (model.layers[0] if outer else deep).trainable = False
    index = WeightIndex(all_layers(model))
    assert index.is_frozen(deep.kernel)
    assert not index.is_frozen(model.layers[1].kernel)


def test_moving_statistics_are_not_frozen():
    layer = layers.BatchNormalization()
    model = keras.Sequential([keras.Input((4,)), layer])
    index = WeightIndex(all_layers(model))
    assert not layer.moving_mean.trainable
    assert not index.is_frozen(layer.moving_mean)


def test_the_weight_under_lora_is_frozen(model):
    deep = model.layers[0].layers[0]
    deep.enable_lora(1)
    index = WeightIndex(all_layers(model))
    assert index.is_frozen(deep._kernel)
    assert not index.is_in_frozen_layer(deep._kernel)
