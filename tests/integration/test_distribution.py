"""Check weights that `keras.distribution` spreads over several devices: same values, right layout."""

import os
import subprocess
import sys

import keras
import pytest

from tests.support import processes

pytestmark = pytest.mark.slow

CODE = """
import keras, numpy as np, keras_initx, sys
L, D = keras.layers, keras.distribution
devices = D.list_devices("cpu")
assert len(devices) == 8, devices

def build(distribution, units):
    keras.utils.clear_session()
    with distribution.scope() if distribution else __import__("contextlib").nullcontext():
        model = keras.Sequential([
            keras.Input((units,)),
            L.Dense(64, activation="relu", kernel_initializer=keras_initx.HeAuto(seed=1), name="one",
                    bias_initializer="bias_auto"),
            L.Dense(32, activation="tanh", kernel_initializer=keras_initx.OrthogonalAuto(seed=2), name="two"),
            L.Dense(8, kernel_initializer=keras_initx.SmallNormal(seed=3), name="three",
                    bias_initializer=keras_initx.PriorBias(0.3), activation="sigmoid"),
        ])
    return model

# With 131072 inputs, Keras draws the first kernel under jit with out_shardings: over 250 MB on 8 devices.
for units in (16, 131072):
    plain = build(None, units)
    mesh = D.DeviceMesh((2, 4), ["batch", "model"], devices)
    layouts = D.LayoutMap(mesh)
    layouts[".*kernel"] = D.TensorLayout([None, "model"])
    layouts[".*bias"] = D.TensorLayout(["model"])
    parallel = D.ModelParallel(layout_map=layouts, batch_dim_name="batch")
    for distribution, spec in ((D.DataParallel(devices=devices), (None,)), (parallel, (None, "model"))):
        model = build(distribution, units)
        for one, two in zip(plain.weights, model.weights):
            np.testing.assert_allclose(np.asarray(one.value), np.asarray(two.value), rtol=1e-5, atol=1e-6)
        sharding = model.layers[0].kernel.value.sharding
        assert len(sharding.device_set) == 8, sharding
        if "model" in spec:
            assert sharding.spec[1] == "model", sharding
            shards = model.layers[0].kernel.value.addressable_shards
            assert {s.data.shape for s in shards} == {(units, 16)}
            assert model.layers[0].bias.value.sharding.spec[0] == "model"
    print("ok", units)
"""


def test_layouts_are_kept_and_change_no_value():
    # JAX whatever the backend of this test run: only there does Keras's API distribute weights.
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    env = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["ok", "16", "ok", "131072"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a strategy of TensorFlow")
def test_a_mirrored_strategy_has_one_value_on_every_replica(tmp_path):
    code = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras, numpy as np, keras_initx
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layers = [keras.layers.Dense(9, kernel_initializer=n, activation="relu")
              for n in ("he_auto", "orthogonal_auto")]
    model = keras.Sequential([keras.Input((9,)), *layers])
for layer in layers:
    one, two = (v.numpy() for v in strategy.experimental_local_results(layer.kernel.value))
    np.testing.assert_array_equal(one, two)
model.compile("sgd", "mse", jit_compile=False)
model.fit(np.ones((8, 9)), np.ones((8, 9)), verbose=0)
"""
    process = processes.start(processes.source, code, output=tmp_path / "out")
    process.join(1000)
    assert process.exitcode == 0, processes.errors_of(tmp_path / "out")[-3000:]
