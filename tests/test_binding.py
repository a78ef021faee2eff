import importlib
import threading

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx import binding


def test_installing_twice_wraps_once():
    before = keras.Layer.add_weight
    binding.install()
    importlib.reload(binding).install()
    assert keras.Layer.add_weight is before
    assert keras.Layer.add_weight.__name__ == "add_weight"


def test_it_survives_a_reload_of_the_initializers(assert_std):
    from keras_initx.initializers import variance

    old = variance.HeAuto
    try:
        new = importlib.reload(variance).HeAuto
        assert new is not old
        for cls in (old, new):
            layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=cls(), activation="relu")
            layer.build((None, 8, 8, 400))
            assert_std(layer.kernel, np.sqrt(2 / 9))
    finally:
        keras.saving.register_keras_serializable(package="keras_initx")(old)
        variance.HeAuto = old


@pytest.mark.parametrize("positional", [True, False])
def test_a_string_or_an_instance_given_to_add_weight_itself(positional, assert_std):
    class Mine(keras.layers.Layer):
        activation = staticmethod(keras.activations.relu)

        def build(self, input_shape):
            shape = (input_shape[-1], 60)
            if positional:
                self.kernel = self.add_weight(shape, "auto", name="kernel")
            else:
                self.kernel = self.add_weight(shape=shape, initializer=keras_initx.Auto(), name="kernel")

    layer = Mine()
    layer.build((None, 500))
    assert_std(layer.kernel, np.sqrt(2 / 500))


def test_other_initializers_pass_through_untouched():
    layer = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=2))
    layer.build((None, 5))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(layer.kernel),
        keras.ops.convert_to_numpy(keras.initializers.GlorotUniform(seed=2)((5, 3))),
    )


def test_layers_built_in_threads_do_not_mix_up_their_places(assert_std):
    layers = [
        keras.layers.Dense(50, activation=("relu", "linear")[i % 2], kernel_initializer="auto")
        for i in range(8)
    ]
    threads = [threading.Thread(target=layer.build, args=((None, 400),)) for layer in layers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, layer in enumerate(layers):
        assert_std(layer.kernel, np.sqrt((2, 1)[i % 2] / 400))
