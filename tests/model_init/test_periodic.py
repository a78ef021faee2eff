"""Check the start of networks of sin(w0 z) against SIREN's rule, by NumPy passes on coordinates."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx
from tests.support.arrays import array

pytestmark = pytest.mark.check

WIDTH = 128


class Sine(layers.Layer):
    def __init__(self, frequency, **kwargs):
        super().__init__(**kwargs)
        self.frequency = frequency

    def call(self, x):
        return ops.sin(self.frequency * x)


class TrainableSine(layers.Layer):
    def __init__(self, frequency, **kwargs):
        super().__init__(**kwargs)
        self.frequency = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(frequency), name="frequency"
        )

    def call(self, x):
        return ops.sin(self.frequency * x)


class OwnDense(layers.Layer):
    def __init__(self, units, frequency, **kwargs):
        super().__init__(**kwargs)
        self.units, self.frequency = units, frequency

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="w")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="b")

    def call(self, x):
        return ops.sin(self.frequency * (ops.matmul(x, self.kernel) + self.bias))


def dense():
    return layers.Dense(WIDTH)


FORMS = {
    "function": lambda h, w: layers.Dense(WIDTH, lambda z: ops.sin(w * z))(h),
    "layer as function": lambda h, w: layers.Dense(WIDTH, Sine(w))(h),
    "activation layer": lambda h, w: layers.Activation(lambda z: ops.sin(w * z))(dense()(h)),
    "lambda layer": lambda h, w: layers.Lambda(lambda z: ops.sin(w * z))(dense()(h)),
    "own layer": lambda h, w: Sine(w)(dense()(h)),
    "trainable frequency": lambda h, w: TrainableSine(w)(dense()(h)),
    "operations": lambda h, w: ops.sin(w * dense()(h)),
    "rescaling": lambda h, w: ops.sin(layers.Rescaling(w)(dense()(h))),
    "own dense": lambda h, w: OwnDense(WIDTH, w)(h),
}


def network(form, frequency, depth=3, inputs=2):
    x = h = keras.Input((inputs,))
    for _ in range(depth):
        h = FORMS[form](h, frequency)
    return keras.Model(x, layers.Dense(3)(h))


def arguments(model, frequency, inputs=2):
    """Return the argument of each sine on coordinates in [-1, 1], and the outputs of the model."""
    h = np.random.default_rng(3).uniform(-1, 1, size=(2000, inputs))
    *hidden, last = [array(w) for w in model.trainable_weights if len(w.shape) == 2]
    found = []
    for kernel in hidden:
        found.append(frequency * h @ kernel)
        h = np.sin(found[-1])
    return found, h @ last


@pytest.mark.parametrize(("form", "depth"), [*((form, 3) for form in FORMS), ("function", 6)])
def test_the_start_is_that_of_siren(form, depth):
    model = network(form, 30.0, depth)
    keras_initx.initialize(model, seed=0)
    (first, *_), outputs = arguments(model, 30.0)
    # SIREN: w ~ U(-1/2, 1/2), so the variance is 30^2 x 2 x 1/12 x 1/3. A kernel of 256 values varies by 4 %.
    assert np.std(first) == pytest.approx(30 / np.sqrt(18), rel=0.1)
    # SIREN: w of variance 2 / (n 30^2). The scale was measured on other inputs.
    kernels = [array(w) for w in model.trainable_weights if len(w.shape) == 2][1:-1]
    assert [np.std(w) for w in kernels] == pytest.approx([np.sqrt(2 / WIDTH) / 30] * (depth - 1), rel=0.1)
    assert np.std(outputs) == pytest.approx(1 / 30, rel=0.2)


@pytest.mark.parametrize("depth", [3, 6])
def test_the_frequency_changes_only_the_unit(depth):
    stds = []
    for frequency in (1.0, 400.0):
        model = network("function", frequency, depth)
        # The same distribution as in `arguments`, so that the first weight before sin(z) is scaled for it.
        data = np.random.default_rng(4).uniform(-1, 1, size=(64, 2)).astype("float32")
        keras_initx.initialize(model, data=data, seed=0)
        stds.append([np.std(z) for z in arguments(model, frequency)[0][1:]])
    assert stds[1] == pytest.approx(stds[0], rel=0.1)


def test_many_inputs_get_the_variance_of_a_hidden_layer():
    # 1 / 300 would be narrower than variance 1, which the measured inputs get instead.
    model = network("function", 30.0, inputs=400)
    plan = keras_initx.initialize(model, seed=0)
    assert plan.rows[0].target == pytest.approx(1 / 30)
    assert plan.rows[0].rms_after == pytest.approx(1 / 30)


def test_coordinates_of_any_size_span_a_few_periods():
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2).astype("float32")
    spans = []
    for scale in (1 / 7, 1.0, 100.0):
        model = network("function", 30.0)
        keras_initx.initialize(model, data=scale * grid, seed=0)
        spans.append(np.sqrt(np.mean((30 * scale * grid @ array(model.layers[1].kernel)) ** 2)))
    # Inputs within [-1, 1] keep SIREN's kernel, larger ones get a smaller one.
    rms = np.sqrt(np.mean((grid / 7) ** 2))
    assert spans == pytest.approx([rms * 30 / np.sqrt(6), 30 / np.sqrt(6), 30 / np.sqrt(6)], rel=0.1)


def test_the_gain_of_a_normalization_takes_the_unit():
    x = keras.Input((16,))
    h = layers.BatchNormalization(name="norm")(layers.Dense(32)(x))
    model = keras.Model(x, layers.Dense(1)(ops.sin(30 * h)))
    plan = keras_initx.initialize(model, seed=0)
    assert array(model.get_layer("norm").gamma) == pytest.approx(1 / 30)
    assert "the gain of its normalization is 0.0333" in plan.rows[0].reason


def test_diagnose_measures_in_the_unit():
    model = network("function", 3000.0)
    keras_initx.initialize(model, seed=0)
    grid = np.random.default_rng(0).uniform(-1, 1, size=(64, 2)).astype("float32")
    report = keras_initx.diagnose(model, grid)
    assert report.healthy
    assert "outside" not in report.summary()
    assert report.rows[1].std == pytest.approx(1 / 3000, rel=0.1)


@pytest.mark.parametrize("name", ["he_auto", "xavier_auto", "auto", "orthogonal_auto"])
def test_a_string_knows_the_unit_of_its_own_layer(name):
    x = np.random.default_rng(0).normal(size=(500, 256)).astype("float32")
    x = np.sin(x)
    layer = layers.Dense(256, lambda z: ops.sin(30 * z), kernel_initializer=name)
    layer.build((None, 256))
    assert np.std(30 * x @ array(layer.kernel)) == pytest.approx(1, rel=0.05)
