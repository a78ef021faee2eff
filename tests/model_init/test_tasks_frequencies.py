"""Check that the frequencies of periodic activations stay where a model sets them, and only there."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx

pytestmark = pytest.mark.check

WIDTH = 64


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor), dtype="float64")


def uniform(limit):
    return keras.initializers.RandomUniform(-limit, limit)


def normal(std):
    return keras.initializers.RandomNormal(stddev=std)


def siren(size=30.0, inputs=2, then="glorot_uniform"):
    """Return SIREN with the factor of its first layer inside the kernel."""
    first = layers.Dense(WIDTH, ops.sin, kernel_initializer=uniform(size / inputs), name="first")
    hidden = [layers.Dense(WIDTH, ops.sin, kernel_initializer=then) for _ in range(2)]
    return keras.Sequential([keras.Input((inputs,)), first, *hidden, layers.Dense(1)])


def fourier(size, before=1.0, inside=1.0):
    """Return a ReLU network on trainable Fourier features, with factors before the kernel and after it."""
    x = keras.Input((2,))
    z = layers.Dense(WIDTH, use_bias=False, kernel_initializer=normal(size), name="first")(before * x)
    h = ops.concatenate([ops.sin(inside * z), ops.cos(inside * z)], axis=-1)
    return keras.Model(x, layers.Dense(1)(layers.Dense(WIDTH, "relu")(h)))


def multiplicative_filters():
    """Return an MFN: linear layers whose outputs are multiplied by sines of the inputs."""
    x = keras.Input((2,))
    filters = [
        layers.Dense(
            WIDTH,
            ops.sin,
            kernel_initializer=uniform(10.0),
            bias_initializer=uniform(np.pi),
            name=f"first_{number}",
        )
        for number in range(3)
    ]
    z = filters[0](x)
    for one in filters[1:]:
        z = layers.Dense(WIDTH, kernel_initializer=uniform(WIDTH**-0.5))(z) * one(x)
    return keras.Model(x, layers.Dense(1)(z))


def kept(model, **options):
    """Initialize, and return the layers whose kernels stayed. The plan has to say the same."""
    before = {w.path: array(w).copy() for w in model.trainable_weights}
    plan = keras_initx.initialize(model, seed=1, **options)
    named = {row.path for row in plan.rows if row.method == "frequencies"}
    rows = {row.path for row in plan.rows}
    same = {w.path for w in model.trainable_weights if np.array_equal(array(w), before[w.path])}
    assert same & rows == named
    assert all("on purpose" in row.reason for row in plan.rows if row.path in named)
    return [layer.name for layer in model.layers if any(w.path in named for w in layer.weights)]


@pytest.mark.parametrize(
    "make",
    [
        siren,
        lambda: siren(inputs=1),
        lambda: fourier(5.0),
        lambda: fourier(2.0, before=2 * np.pi),
        lambda: fourier(5.0, inside=2 * np.pi),
    ],
    ids=["SIREN", "one input", "features", "2 pi before", "2 pi inside"],
)
def test_frequencies_stay(make):
    assert kept(make()) == ["first"]


def test_every_filter_of_a_multiplicative_network_stays():
    assert kept(multiplicative_filters()) == ["first_0", "first_1", "first_2"]


@pytest.mark.parametrize("w0", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize(
    "own", ["glorot_uniform", "he_normal", "lecun_normal", "random_normal", "orthogonal"]
)
def test_kernels_of_any_scheme_are_drawn(w0, own):
    for inputs in (1, 20):
        keras.utils.set_random_seed(0)
        dense = [layers.Dense(WIDTH, lambda z: ops.sin(w0 * z), kernel_initializer=own) for _ in range(2)]
        assert kept(keras.Sequential([keras.Input((inputs,)), *dense, layers.Dense(1)])) == []


def test_the_rule_of_siren_outside_of_the_kernel_is_drawn():
    dense = layers.Dense(WIDTH, lambda z: ops.sin(30 * z), kernel_initializer=uniform(0.5))
    assert kept(keras.Sequential([keras.Input((2,)), dense, layers.Dense(1)])) == []


def test_large_kernels_elsewhere_are_drawn():
    # One size everywhere is a habit; before a ReLU, or later in the network, no phase is meant.
    assert kept(siren(then=uniform(15.0))) == []
    relu = [layers.Dense(WIDTH, "relu", kernel_initializer=uniform(15.0)), layers.Dense(1)]
    assert kept(keras.Sequential([keras.Input((2,)), *relu])) == []
    late = [layers.Dense(WIDTH, "relu"), layers.Dense(WIDTH, ops.sin, kernel_initializer=uniform(1.0))]
    assert kept(keras.Sequential([keras.Input((2,)), *late, layers.Dense(1)])) == []
    x = keras.Input((2,))
    h = layers.BatchNormalization()(layers.Dense(WIDTH, kernel_initializer=uniform(15.0))(x))
    assert kept(keras.Model(x, layers.Dense(1)(ops.sin(h)))) == []


def test_only_draws_frequencies_and_the_second_call_too():
    model = siren()
    before = np.std(array(model.get_layer("first").kernel))
    keras_initx.initialize(model, seed=0, only="first")
    assert np.std(array(model.get_layer("first").kernel)) < before / 4
    assert kept(model) == []


def test_the_rest_is_scaled_on_what_the_frequencies_give():
    model = siren()
    keras_initx.initialize(model, seed=0)
    h = np.random.default_rng(3).uniform(-1, 1, size=(2000, 2))
    stds = []
    for layer in model.layers[:-1]:
        z = h @ array(layer.kernel)
        stds.append(np.std(z))
        h = np.sin(z)
    # U(-15, 15) on two coordinates within [-1, 1]: 15 x sqrt(2) / 3.
    outputs = h @ array(model.layers[-1].kernel)
    # As small as with the factor outside of the kernel.
    assert np.std(outputs) == pytest.approx(1 / 30, rel=0.2)
    assert stds == pytest.approx([5 * 2**0.5, 1, 1], rel=0.15)


@pytest.mark.one_backend
@pytest.mark.parametrize("make", [siren, multiplicative_filters])
def test_a_network_with_frequencies_of_its_own_still_fits_a_signal(make):
    line = np.linspace(-1, 1, 16)
    x = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2).astype("float32")
    y = (np.sin(12 * x[:, :1]) * np.cos(9 * x[:, 1:])).astype("float32")
    keras.utils.set_random_seed(0)
    model = make()
    keras_initx.initialize(model, seed=0)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    losses = model.fit(x, y, batch_size=256, epochs=150, verbose=0).history["loss"]
    # A constant has 0.25; with the first kernel drawn again, 150 steps end above 0.2.
    assert losses[-1] < 0.05
