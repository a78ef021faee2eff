"""Check what edge, gpn, mirrored and shaped promise for deep plain networks, by independent passes."""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx._theory.activation import read_activation
from keras_initx._theory.dks import solve_dks
from keras_initx._theory.mean_field import edge_variance, gpn_shift

WIDTH = 128


def dense(depth, activation, width=WIDTH, use_bias=True, classes=10):
    hidden = [layers.Dense(width, activation=activation, use_bias=use_bias) for _ in range(depth)]
    return keras.Sequential([keras.Input((width,)), *hidden, layers.Dense(classes, use_bias=use_bias)])


def convolutions(depth, activation, channels=16, size=7):
    hidden = [layers.Conv2D(channels, 3, padding="same", activation=activation) for _ in range(depth)]
    return keras.Sequential(
        [keras.Input((size, size, channels)), *hidden, layers.Flatten(), layers.Dense(10)]
    )


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor), dtype="float64")


FORMULAS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (
        lambda z: 1 / (1 + np.exp(-z)),
        lambda z: np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z))) ** 2,
    ),
}


def spread(model, activation, samples=64):
    """Return log10 of the last over the first mean square, for pre-activations and for their gradients."""
    phi, slope = FORMULAS[activation]
    rng = np.random.default_rng(5)
    h, forward = rng.normal(size=(samples, WIDTH)), []
    for layer in model.layers[:-1]:
        z = h @ array(layer.kernel) + (array(layer.bias) if layer.use_bias else 0)
        forward.append(z)
        h = phi(z)
    gradient, backward = rng.normal(size=(samples, 10)) @ array(model.layers[-1].kernel).T, []
    for number in reversed(range(len(forward))):
        gradient = gradient * slope(forward[number])
        backward.append(np.mean(gradient**2))
        gradient = gradient @ array(model.layers[number].kernel).T
    sizes = [np.mean(z**2) for z in forward]
    return np.log10(sizes[-1] / sizes[0]), np.log10(backward[-1] / backward[0])


class TestEdge:
    def test_the_target_is_the_variance_of_the_depth(self):
        plan = initialize(dense(30, "tanh"), "edge", seed=0)
        q = edge_variance(read_activation("tanh"), 31)
        assert all(row.target == pytest.approx(q**0.5) for row in plan.rows[:-1])
        assert plan.rows[-1].target == 1

    def test_depth_200_holds(self):
        model = dense(200, "tanh")
        initialize(model, "edge", seed=0)
        assert np.all(np.abs(spread(model, "tanh")) < 0.3)


class TestGpn:
    @pytest.mark.parametrize("use_bias", [True, False])
    def test_sigmoid_holds_with_a_bias_and_without(self, use_bias):
        model = dense(50, "sigmoid", use_bias=use_bias)
        initialize(model, "gpn", seed=0)
        assert np.all(np.abs(spread(model, "sigmoid")) < 0.3)
        if use_bias:
            # The same network without the shift does not hold.
            initialize(model, "variance", seed=0)
            assert np.max(np.abs(spread(model, "sigmoid"))) > 10

    def test_the_bias_is_the_shift_times_the_column_sums(self):
        model = dense(6, "sigmoid")
        initialize(model, "gpn", seed=0)
        d = gpn_shift(read_activation("sigmoid"))
        kernel = array(model.layers[3].kernel)
        np.testing.assert_allclose(array(model.layers[3].bias), d * kernel.sum(axis=0), rtol=1e-3, atol=1e-5)
        assert not array(model.layers[0].bias).any()


class TestMirrored:
    @pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "silu", "softplus"])
    @pytest.mark.parametrize("make", [dense, convolutions])
    def test_the_network_starts_linear(self, make, activation):
        model = make(8, activation)
        plan = initialize(model, "mirrored", seed=0)
        assert {row.method for row in plan.rows} == {"mirrored"}
        rng = np.random.default_rng(0)
        one, two = (rng.normal(size=(4, *model.input_shape[1:])).astype("float32") for _ in range(2))
        both = array(model(one + two))
        np.testing.assert_allclose(both, array(model(one)) + array(model(two)), atol=2e-4)
        assert np.abs(both).max() > 0.1

    def test_depth_200_holds(self):
        model = dense(200, "relu")
        initialize(model, "mirrored", seed=0)
        assert np.all(np.abs(spread(model, "relu")) < 0.05)

    def test_odd_widths(self):
        model = dense(6, "relu", width=33)
        initialize(model, "mirrored", seed=0)
        assert np.all(np.isfinite(array(model(np.ones((2, 33), "float32")))))

    @pytest.mark.parametrize("activation", ["tanh", "sigmoid", "hard_sigmoid"])
    def test_odd_activations_are_out_of_scope(self, activation):
        plan = initialize(dense(6, activation), "mirrored", seed=0)
        assert {row.method for row in plan.rows} == {"variance"}

    def test_depthwise_convolutions_have_no_pairs(self):
        x = h = keras.Input((8, 8, 4))
        for _ in range(6):
            h = layers.DepthwiseConv2D(3, padding="same", activation="relu")(h)
        plan = initialize(keras.Model(x, h), "mirrored", seed=0)
        assert {row.method for row in plan.rows} == {"variance"}


def gelu(z):
    from scipy.special import ndtr

    return z * ndtr(z)


class TestShaped:
    @pytest.mark.parametrize(("name", "phi"), [("relu", lambda z: np.maximum(z, 0)), ("gelu", gelu)])
    @pytest.mark.parametrize("depth", [20, 50])
    def test_it_is_the_network_with_transformed_activations(self, name, phi, depth):
        activation = keras.activations.get(name)
        if name == "gelu":
            activation = functools.partial(keras.activations.gelu, approximate=False)
        hidden = [layers.Dense(WIDTH, activation=activation) for _ in range(depth)]
        model = keras.Sequential([keras.Input((WIDTH,)), *hidden, layers.Dense(WIDTH)])
        plan = initialize(model, "shaped", seed=0)
        assert {row.method for row in plan.rows} == {"shaped"}
        transform = solve_dks(read_activation(activation), depth + 1)
        a, b, c, d = (
            transform.input_scale,
            transform.input_shift,
            transform.output_scale,
            transform.output_shift,
        )
        x = np.random.default_rng(0).normal(size=(16, WIDTH)).astype("float32")
        absorbed = transformed = x.astype("float64")
        for number, layer in enumerate(model.layers):
            inner = number < depth
            kernel = array(layer.kernel) / ((a if inner else 1) * (c if number else 1))
            own = kernel.T @ kernel
            size = np.trace(own) / WIDTH
            # Orthogonal, and of the theoretical size up to the error of a finite width.
            assert size == pytest.approx(1, abs=0.25)
            np.testing.assert_allclose(own / size, np.eye(WIDTH), atol=1e-4)
            transformed = transformed @ kernel
            absorbed = absorbed @ array(layer.kernel) + array(layer.bias)
            if inner:
                transformed, absorbed = c * (phi(a * transformed + b) + d), phi(absorbed)
        size = np.sqrt(np.mean(transformed**2))
        assert np.sqrt(np.mean((absorbed - transformed) ** 2)) < 1e-6 * size
        # The model adds the rounding of its sums, layer by layer.
        assert np.sqrt(np.mean((array(model(x)) - transformed) ** 2)) < 1e-5 * size

    def test_borders_of_convolutions_see_no_padding(self):
        model = convolutions(12, "relu")
        initialize(model, "shaped", seed=0)
        constant = np.ones((2, 7, 7, 16), "float32")
        h = constant
        for layer in model.layers[:-2]:
            h = layer(h)
        maps = array(h)
        # Every position has the same inputs; a window that saw the padding would differ at the border.
        np.testing.assert_allclose(maps, np.broadcast_to(maps[:, 3:4, 3:4], maps.shape), atol=1e-5)

    def test_two_inputs_stay_apart(self):
        model = dense(50, "relu")
        initialize(model, "shaped", seed=0)
        h = np.random.default_rng(1).normal(size=(40, WIDTH)).astype("float32")
        for layer in model.layers[:-1]:
            h = layer(h)
        correlation = np.corrcoef(array(h))
        assert np.mean(correlation[np.triu_indices(40, 1)]) < 0.5

    def test_layers_and_activations_out_of_scope(self):
        assert {r.method for r in initialize(dense(6, "relu", use_bias=False), "shaped", seed=0).rows} == {
            "variance"
        }
        assert {r.method for r in initialize(dense(6, "hard_sigmoid"), "shaped", seed=0).rows} == {"variance"}


def response(model, x):
    """Return log10 of the mean square change of the outputs over the mean square of a small random step."""
    step = 1e-2 * np.random.default_rng(5).standard_normal(x.shape).astype("float32")
    return np.log10(np.mean((array(model(x + step)) - array(model(x))) ** 2) / np.mean(step**2))


def follow(*stack, shape):
    model = keras.Sequential([keras.Input(shape), *stack])
    x = np.random.default_rng(0).standard_normal((16, *shape)).astype("float32")
    return model, x


@pytest.mark.parametrize("method", ["auto", "gpn", "shaped"])
@pytest.mark.parametrize(
    "unit",
    [
        lambda n: layers.Conv2DTranspose(6 + n % 2, 3, padding="same", activation="sigmoid"),
        lambda n: layers.EinsumDense("ab,cb->ac", 16, bias_axes="c", activation="sigmoid"),
        lambda n: layers.DepthwiseConv2D(3, padding="same", activation="sigmoid"),
        lambda n: layers.SeparableConv2D(6, 3, padding="same", activation="sigmoid"),
    ],
    ids=["transposed", "einsum", "depthwise", "separable"],
)
def test_layers_that_cannot_carry_a_shift_get_none(unit, method):
    stack = [unit(n) for n in range(12)]
    shape = (16,) if isinstance(stack[0], layers.EinsumDense) else (6, 6, 6)
    model, _ = follow(*stack, shape=shape)
    plan = initialize(model, method, seed=0)
    assert {row.method for row in plan.rows} <= {"variance", "edge"}
    for layer in model.layers:
        assert not np.any(array(layer.bias))


class Own(layers.Dense):
    pass


class Called(layers.Dense):
    def call(self, inputs, training=None):
        return super().call(inputs)


@pytest.mark.parametrize("between", [lambda: layers.Rescaling(3.0), lambda: layers.Activation("tanh")])
@pytest.mark.parametrize("method", ["gpn", "shaped", "mirrored"])
def test_a_layer_between_breaks_the_chain(between, method):
    stack = [thing for _ in range(12) for thing in (layers.Dense(32, activation="relu"), between())]
    model, _ = follow(*stack, layers.Dense(4), shape=(32,))
    assert {row.method for row in initialize(model, method, seed=0).rows} == {"variance"}


@pytest.mark.parametrize(("kind", "is_dense"), [(Own, True), (Called, False)])
def test_a_subclass_counts_as_its_base_unless_it_overrides_call(kind, is_dense):
    model, _ = follow(*(kind(32, activation="sigmoid") for _ in range(12)), shape=(32,))
    assert ("gpn" in {row.method for row in initialize(model, "auto", seed=0).rows}) is is_dense


@pytest.mark.parametrize("method", ["lsuv", "edge", "orthogonal"])
def test_causal_kernels_see_the_present(method):
    stack = [
        layers.Conv1D(16, 3, padding="causal", dilation_rate=2 ** (n % 6), activation="relu")
        for n in range(12)
    ]
    model, x = follow(*stack, shape=(64, 8))
    plan = initialize(model, method, data=x, seed=0)
    assert method == "orthogonal" or all(row.rms_after == pytest.approx(1) for row in plan.rows)
    # Each output sees the input of its own time, so the first output is not zero.
    assert np.any(array(model(x))[:, 0])


def test_sigmoid_convolutions_keep_their_signal_at_the_border():
    stack = [layers.Conv2D(32, 3, padding="same", activation="sigmoid") for _ in range(20)]
    model, x = follow(*stack, shape=(8, 8, 32))
    initialize(model, "auto", seed=0)
    # A wrong bias at the border would lower the response by 1.5 decades here.
    plain = response(model, x)
    initialize(model, "gpn", seed=0)
    assert plain == pytest.approx(response(model, x), abs=0.3)


def test_an_offset_before_the_head():
    stack = [layers.DepthwiseConv2D(3, padding="same", activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((6, 6, 8)), *stack, layers.Flatten(), layers.Dense(4)])
    assert [row.rms_after for row in initialize(model, "shaped", seed=0).rows] == pytest.approx(
        [1] * 4, abs=0.5
    )
