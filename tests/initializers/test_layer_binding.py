"""Check the wrapped `add_weight`: imported twice, reloaded, in threads, in a new process."""

import importlib
import pickle
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx.initializers import layer_binding


def test_installing_twice_wraps_once():
    before = keras.Layer.add_weight
    layer_binding.install()
    importlib.reload(layer_binding).install()
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


# Imports the package by unpickling alone, as a spawned process does. Then drops it from sys.modules and
# imports it again, as a notebook may do, so that every class exists twice.
NEW_PROCESS = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    bound = pickle.load(file)

import keras, numpy as np

np.save(sys.argv[2], keras.ops.convert_to_numpy(bound((30, 4))))

def std(initializer):
    layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=initializer, activation="relu")
    layer.build((None, 8, 8, 4000))
    return float(keras.ops.std(layer.kernel))

print("unpickled", std("he_auto"))

import keras_initx
first, wrapped = keras_initx.HeAuto, keras.Layer.add_weight
for name in [n for n in sys.modules if n.startswith("keras_initx")]:
    del sys.modules[name]
import keras_initx
assert keras_initx.HeAuto is not first
assert keras.Layer.add_weight is wrapped, "wrapped twice"
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="he_auto")])
clone = keras.models.clone_model(model)
assert type(clone.layers[0].kernel_initializer) is keras_initx.HeAuto
for initializer in ("he_auto", first(), keras_initx.HeAuto()):
    print("imported twice", std(initializer))
"""


@pytest.mark.slow
def test_a_pickled_initializer_and_a_second_import_still_bind_in_a_new_process(tmp_path):
    bound = keras_initx.HeAuto(seed=1).bound_to(keras.layers.Dense(4, name="same"), "kernel")
    (tmp_path / "bound.pickle").write_bytes(pickle.dumps(bound))
    files = [str(tmp_path / "bound.pickle"), str(tmp_path / "values.npy")]
    done = subprocess.run(
        [sys.executable, "-c", NEW_PROCESS, *files], capture_output=True, text=True, timeout=1000
    )
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_array_equal(np.load(files[1]), keras.ops.convert_to_numpy(bound((30, 4))))
    lines = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["unpickled"] + ["imported twice"] * 3
    # 36,000 draws: five standard errors are 0.019.
    assert [float(line[1]) for line in lines] == pytest.approx([np.sqrt(2 / 9)] * 4, rel=0.02)


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


def test_one_instance_shared_by_threads_draws_by_path():
    def draw(in_threads):
        shared = keras_initx.Auto(seed=5)
        layers = [
            keras.layers.Dense(50, kernel_initializer=shared, name=f"n{i}", activation="tanh")
            for i in range(8)
        ]
        works = [threading.Thread(target=layer.build, args=((None, 40),)) for layer in layers]
        for work in works:
            work.start() if in_threads else work.run()
        for work in works if in_threads else ():
            work.join()
        return [keras.ops.convert_to_numpy(layer.kernel) for layer in layers]

    for one, two in zip(draw(False), draw(True), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("filtering", [True, False])
def test_with_and_without_traceback_filtering(filtering, assert_std):
    was = keras.config.is_traceback_filtering_enabled()
    try:
        (keras.config.enable_traceback_filtering if filtering else keras.config.disable_traceback_filtering)()
        layer = keras.layers.Dense(50, activation="gelu", kernel_initializer="auto")
        layer(np.ones((2, 900), "float32"))
        assert_std(layer.kernel, np.sqrt(2.35171561 / 900))
        bad = keras.layers.Dense(3, activation=lambda x: x / 0, kernel_initializer="auto", name="bad")
        with pytest.raises(keras_initx.InitxError, match="bad/kernel"):
            bad.build((None, 4))
    finally:
        (keras.config.enable_traceback_filtering if was else keras.config.disable_traceback_filtering)()


def test_a_wrapper_of_another_library_around_ours_still_binds(assert_std):
    original = keras.Layer.add_weight
    seen = []
    shared = keras_initx.Auto(seed=1)

    def theirs(layer, *args, **kwargs):
        seen.append(kwargs.get("name"))
        return original(layer, *args, **kwargs)

    keras.Layer.add_weight = theirs
    try:
        # Our wrapper is inside theirs. A second one around theirs would bind twice.
        layer_binding.install()
        layer = keras.layers.Dense(50, activation="relu", kernel_initializer=shared, name="x")
        layer.build((None, 400))
    finally:
        keras.Layer.add_weight = original
    assert "kernel" in seen
    assert_std(layer.kernel, np.sqrt(2 / 400))
    again = keras.layers.Dense(50, activation="relu", kernel_initializer=shared, name="x")
    again.build((None, 400))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(layer.kernel), keras.ops.convert_to_numpy(again.kernel)
    )
