from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx._theory import read_activation
from keras_initx.model_init.calibration.live_units import is_off_below_zero, turn_dead_units

pytestmark = pytest.mark.check


def squeeze_model(relu):
    """Return a model with a small squeeze after a global pooling, whose result hardly varies."""
    x = keras.Input((24, 24, 3))
    y = layers.Conv2D(16, 3, activation="relu")(x)
    squeeze = layers.Dense(8, name="squeeze")(layers.GlobalAveragePooling2D()(y))
    squeezed = layers.Activation(relu, name="squeezed")(squeeze)
    gate = layers.Dense(16, activation="sigmoid")(squeezed)
    y = layers.Multiply()([y, layers.Reshape((1, 1, 16))(gate)])
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling2D()(y))), squeezed


@pytest.mark.parametrize("relu", ["relu", "relu6", lambda z: keras.ops.maximum(z, 0.0)])
def test_no_unit_of_a_small_squeeze_is_dead(relu):
    model, squeezed = squeeze_model(relu)
    noise = np.random.default_rng(1).standard_normal((64, 24, 24, 3))
    inner = keras.Model(model.input, squeezed)
    for seed in range(4):
        plan = keras_initx.initialize(model, seed=seed)
        outputs = inner.predict(noise, verbose=0)
        # Units on the edge may still be off for most samples.
        assert np.mean(np.all(outputs == 0, axis=0)) <= 0.25
        row = next(row for row in plan.rows if row.path == "squeeze/kernel")
        assert row.target == row.rms_after == 1


def turned(z, activation="relu", **changes):
    """Return the pre-activation and the kernel after `turn_dead_units`."""
    context = {
        "summing": True,
        "normalized": False,
        "channels_last": True,
        "activation": read_activation(activation),
    }
    choice = SimpleNamespace(after=SimpleNamespace(mirrored=changes.pop("mirrored", False)))
    task = SimpleNamespace(
        variable=keras.Variable(np.ones((2, 3), "float32")),
        context=SimpleNamespace(**{**context, **changes}),
        choice=choice,
        target=changes.get("target", 1.0),
    )
    z = turn_dead_units(task, keras.ops.convert_to_tensor(z, "float32"))
    return np.asarray(z), np.asarray(task.variable)


def constants(shape, axis):
    """Return a tensor whose middle unit is negative everywhere, the first positive, the last symmetric."""
    noise = np.random.default_rng(0).standard_normal(shape)
    means = np.array([4.0, -4.0, 0.0]).reshape([3 if n == axis else 1 for n in range(len(shape))])
    return noise + means


@pytest.mark.parametrize(("shape", "axis", "last"), [((50, 3), 1, True), ((50, 3, 4, 5), 1, False)])
def test_only_dead_units_turn(shape, axis, last):
    z = constants(shape, axis)
    values, kernel = turned(z, channels_last=last)
    signs = np.array([1, -1, 1])
    assert np.array_equal(kernel, np.ones((2, 3)) * signs)
    expected = z * signs.reshape([3 if n == axis else 1 for n in range(z.ndim)])
    assert np.allclose(values, expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"summing": False}, {"normalized": True}, {"mirrored": True}, {"activation": "gelu"}]
)
def test_other_units_stay(changes):
    z = constants((50, 3), 1)
    values, kernel = turned(z, **changes)
    assert np.array_equal(kernel, np.ones((2, 3)))
    assert np.allclose(values, z, atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [("relu", True), ("relu6", True), ("leaky_relu", False), ("sigmoid", False), ("linear", False)],
)
def test_activations_that_are_off_below_zero(activation, expected):
    assert is_off_below_zero(read_activation(activation)) is expected
