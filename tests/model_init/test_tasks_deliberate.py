"""Check that `initialize` keeps zeros and tiny kernels that were set on purpose, and no others."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize

pytestmark = pytest.mark.check


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor))


def closed_model(combine):
    """Return a model that combines a signal with the output of a layer whose kernel is zeros."""
    x = keras.Input((8,))
    h = layers.Dense(8, "relu")(x)
    closed = layers.Dense(8, kernel_initializer="zeros", name="closed")(h)
    return keras.Model(x, layers.Dense(3)(layers.Dense(8, "relu")(combine(h, closed))))


class Coupling(layers.Layer):
    """RealNVP: scale and shift one half by nets of the other half."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.nets = [
            keras.Sequential([layers.Dense(16, "relu"), layers.Dense(2, last, kernel_initializer="zeros")])
            for last in ("tanh", None)
        ]

    def build(self, shape):
        for net in self.nets:
            net.build((None, 2))
        super().build(shape)

    def call(self, x):
        a, b = x[:, :2], x[:, 2:]
        scale, shift = (net(a) for net in self.nets)
        return ops.concatenate([b * ops.exp(scale) + shift, a], axis=-1)


class Glow(layers.Layer):
    """Glow: one net returns shift and scale, and its last convolution is zeros with a trainable factor."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.last = layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros")

    def build(self, shape):
        self.hidden.build((*shape[:-1], 2))
        self.last.build((*shape[:-1], 8))
        self.factors = self.add_weight(shape=(1, 1, 1, 4), initializer="zeros", name="factors")
        super().build(shape)

    def call(self, x):
        a, b = ops.split(x, 2, axis=-1)
        h = self.last(self.hidden(a)) * ops.exp(3 * self.factors)
        shift, scale = h[..., 0::2], ops.sigmoid(h[..., 1::2] + 2)
        return ops.concatenate([a, (b + shift) * scale], axis=-1)


class SpatialGate(layers.Layer):
    """gMLP: a projection over the tokens with weights near 0 and biases of 1 multiplies the other half."""

    def build(self, shape):
        near = keras.initializers.RandomUniform(-1e-3, 1e-3)
        self.over_tokens = layers.Dense(shape[1], kernel_initializer=near, bias_initializer="ones")
        self.over_tokens.build((None, shape[2] // 2, shape[1]))
        super().build(shape)

    def call(self, x):
        u, v = ops.split(x, 2, axis=-1)
        return u * ops.transpose(self.over_tokens(ops.transpose(v, (0, 2, 1))), (0, 2, 1))


def flow():
    return keras.Sequential([keras.Input((4,)), *(Coupling() for _ in range(4))])


def glow():
    return keras.Sequential([keras.Input((6, 6, 4)), *(Glow() for _ in range(3))])


def gated():
    x = keras.Input((12, 8))
    h = SpatialGate()(layers.Dense(16, "gelu")(x))
    return keras.Model(x, layers.Dense(3)(layers.Dense(8)(h)))


def actor(limit=3e-3, hidden=None):
    last = keras.initializers.RandomUniform(-limit, limit)
    middle = keras.initializers.RandomNormal(stddev=hidden) if hidden else "glorot_uniform"
    stack = [
        layers.Dense(400, "relu"),
        layers.Dense(300, "relu", kernel_initializer=middle),
        layers.Dense(300),
    ]
    return keras.Sequential([keras.Input((20,)), *stack, layers.Dense(4, "tanh", kernel_initializer=last)])


def methods(plan):
    return [row.method for row in plan.rows]


def test_couplings_start_at_the_identity():
    model = flow()
    plan = initialize(model, seed=0)
    assert methods(plan).count("zeros") == 8
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    # Four couplings swap the halves four times.
    assert array(model(x)) == pytest.approx(x, abs=1e-6)


def test_couplings_of_glow_stay_closed():
    model = glow()
    assert methods(initialize(model, seed=0)).count("zeros") == 3
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 4)).astype("float32")
    factor = 1 / (1 + np.exp(-2.0))
    assert array(model(x)) == pytest.approx(
        np.concatenate([x[..., :2], factor**3 * x[..., 2:]], -1), rel=1e-5
    )


def test_the_gate_of_gmlp_stays_open():
    model = gated()
    plan = initialize(model, seed=0)
    row = next(row for row in plan.rows if row.method == "small")
    assert row.path.startswith("spatial_gate")
    assert "on purpose" in row.reason


def test_the_outputs_of_an_actor_stay_small():
    model = actor()
    before = array(model.layers[-1].kernel).copy()
    assert methods(initialize(model, seed=0))[-1] == "small"
    assert np.array_equal(array(model.layers[-1].kernel), before)
    initialize(model, seed=0, only=model.layers[-1].name)
    assert np.std(array(model.layers[-1].kernel)) > 10 * np.std(before)


def test_the_usual_small_numbers_are_not_meant():
    for model in (actor(0.05), actor(0.14, 0.05)):
        assert "small" not in methods(initialize(model, seed=0))


def test_a_small_kernel_in_the_middle_is_drawn():
    plan = initialize(actor(hidden=1e-4), seed=0)
    assert methods(plan)[1:] == ["variance", "variance", "small"]


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_heads_of_zeros_stay_whatever_their_share(heads):
    x = keras.Input((8,))
    h = layers.Dense(8, "relu")(x)
    closed = [layers.Dense(3, kernel_initializer="zeros")(h) for _ in range(heads)]
    model = keras.Model(x, closed)
    assert methods(initialize(model, seed=0)) == ["variance"] + ["zeros"] * heads
    single = keras.Sequential([keras.Input((8,)), layers.Dense(3, kernel_initializer="zeros")])
    assert methods(initialize(single, seed=0)) == ["zeros"]


@pytest.mark.parametrize("ordinary", [0, 1, 6])
@pytest.mark.parametrize("small", ["zeros", "random"])
def test_what_the_middle_declares_too_is_a_habit_whatever_its_share(ordinary, small):
    def initializer():
        return "zeros" if small == "zeros" else keras.initializers.RandomNormal(stddev=1e-4)

    usual = [layers.Dense(8, "relu") for _ in range(ordinary)]
    closed = [layers.Dense(8, "relu", kernel_initializer=initializer()) for _ in range(2)]
    head = layers.Dense(3, kernel_initializer=initializer())
    model = keras.Sequential([keras.Input((8,)), *usual, *closed, head])
    plan = initialize(model, seed=0)
    assert not {"zeros", "small"} & set(methods(plan))
    # A head that declares something else was chosen.
    chosen = layers.Dense(3, kernel_initializer=keras.initializers.RandomUniform(-3e-3, 3e-3))
    model = keras.Sequential([keras.Input((8,)), *usual, *closed[:1], chosen])
    assert methods(initialize(model, seed=0))[-1] == "small"


def test_one_small_initializer_everywhere_is_a_habit_in_branches_too():
    small = keras.initializers.RandomNormal(stddev=1e-3)
    x = keras.Input((8,))
    h = layers.Dense(8, kernel_initializer=small)(x)
    for _ in range(3):
        h = layers.Add()([h, layers.Dense(8, "relu", kernel_initializer=small)(h)])
    plan = initialize(keras.Model(x, layers.Dense(3, kernel_initializer=small)(h)), seed=0)
    assert "small" not in methods(plan)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("inner", ["he_normal", "zeros"])
def test_a_stem_of_zeros_says_nothing_about_the_ends_of_branches(depth, inner):
    x = keras.Input((8,))
    h = layers.Dense(8, kernel_initializer="zeros", name="stem")(x)
    for _ in range(2):
        branch = h
        for _ in range(depth - 1):
            branch = layers.Dense(8, "relu", kernel_initializer=inner)(branch)
        h = layers.Add()([h, layers.Dense(8, kernel_initializer="zeros")(branch)])
    plan = initialize(keras.Model(x, layers.Dense(3)(h)), seed=0)
    # Two layers of zeros in a branch never learn, so neither is meant.
    kept = 0 if depth == 2 and inner == "zeros" else 2
    assert methods(plan).count("zeros") == kept
    assert next(row for row in plan.rows if row.path.startswith("stem")).method != "zeros"


@pytest.mark.parametrize(
    "combine",
    [
        lambda x, closed: x * closed,
        lambda x, closed: layers.Dense(8)(closed),
        lambda x, closed: layers.Dense(8)(x) * ops.tanh(2 * closed),
    ],
    ids=["product", "chain", "gate through zero"],
)
def test_zeros_that_stop_the_signal_are_drawn(combine):
    model = closed_model(combine)
    initialize(model, seed=0)
    assert np.any(array(model.get_layer("closed").kernel))


@pytest.mark.parametrize(
    "combine",
    [
        lambda x, closed: x * (1 + closed),
        lambda x, closed: x * ops.sigmoid(closed),
        lambda x, closed: ops.concatenate([x, closed], axis=-1),
    ],
    ids=["modulation", "gate", "concatenation"],
)
def test_zeros_that_the_signal_goes_around_stay(combine):
    model = closed_model(combine)
    plan = initialize(model, seed=0)
    assert not np.any(array(model.get_layer("closed").kernel))
    assert methods(plan).count("zeros") == 1


def test_two_zeros_that_multiply_each_other_are_drawn():
    x = keras.Input((8,))
    h = layers.Dense(8, "relu")(x)
    one, other = (layers.Dense(8, kernel_initializer="zeros", name=name)(h) for name in ("one", "other"))
    model = keras.Model(x, layers.Dense(3)(layers.Dense(8)(ops.concatenate([h, one * other]))))
    initialize(model, seed=0)
    assert np.any(array(model.get_layer("one").kernel))


def closed_branches():
    """Return residual branches of which each ends in a normalization with a gain of zero."""
    x = h = keras.Input((6, 6, 4))
    for number in range(2):
        branch = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(h)))
        branch = layers.Conv2D(4, 3, padding="same", name=f"end_{number}")(branch)
        h = layers.ReLU()(h + layers.BatchNormalization(gamma_initializer="zeros", name=f"n{number}")(branch))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(h)))


@pytest.mark.parametrize("method", ["auto", "residual"])
def test_a_gain_of_zero_at_the_end_of_a_branch_stays(method):
    model = closed_branches()
    plan = initialize(model, method, seed=0)
    assert not any(np.any(array(model.get_layer(f"n{number}").gamma)) for number in range(2))
    if method == "residual":
        assert [row.reason.endswith("is zero, on purpose, and stays") for row in plan.rows] == [
            False,
            True,
            False,
            True,
            False,
        ]
