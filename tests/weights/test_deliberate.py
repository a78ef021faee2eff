"""Check which weights `initialize` keeps because they were set on purpose."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx._weights import is_small, is_structured


def array(tensor):
    return ops.convert_to_numpy(tensor)


def repeated(shape, dtype=None):
    """Return the start of a subpixel convolution (ICNR): four equal filters each."""
    values = np.random.default_rng(0).normal(size=(*shape[:-1], shape[-1] // 4))
    return ops.convert_to_tensor(np.repeat(values, 4, axis=-1), dtype=dtype)


def model(head="glorot_uniform", hidden="glorot_uniform"):
    x = keras.Input((8,))
    h = layers.Dense(8, "relu", kernel_initializer=hidden, name="hidden")(
        layers.Dense(8, "relu", name="stem")(x)
    )
    return keras.Model(x, layers.Dense(4, kernel_initializer=head, name="head")(h))


def row_of(plan, path):
    return next(row for row in plan.rows if row.path == f"{path}/kernel")


def test_a_head_of_zeros_stays():
    m = model(head="zeros")
    row = row_of(initialize(m, seed=0), "head")
    assert not np.any(array(m.get_layer("head").kernel))
    assert row.method == "zeros"
    assert "on purpose" in row.reason


def test_zeros_that_stop_the_signal_are_drawn():
    m = model(hidden="zeros")
    initialize(m, seed=0)
    assert np.any(array(m.get_layer("hidden").kernel))


@pytest.mark.parametrize("is_identity", [True, False])
def test_zeros_below_an_identity_stay(is_identity):
    # The transform of a point net: the bias alone makes it the identity at first.
    points = keras.Input((16, 3))
    pooled = layers.GlobalMaxPooling1D()(layers.Dense(32, "relu")(points))
    identity = keras.initializers.Constant(np.eye(3).ravel() if is_identity else 1.0)
    transform = layers.Dense(9, kernel_initializer="zeros", bias_initializer=identity, name="transform")
    turned = layers.Dot(axes=(2, 1))([points, layers.Reshape((3, 3))(transform(pooled))])
    m = keras.Model(points, layers.Dense(4)(layers.GlobalMaxPooling1D()(layers.Dense(32, "relu")(turned))))
    row = row_of(initialize(m, seed=0), "transform")
    # Where all biases are equal, the zeros only stop the signal.
    assert (row.method == "zeros") == is_identity
    assert np.any(array(m.get_layer("transform").kernel)) != is_identity


def test_a_model_of_zeros_is_drawn():
    x = keras.Input((8,))
    m = keras.Sequential([x, *(layers.Dense(8, kernel_initializer="zeros") for _ in range(3))])
    initialize(m, seed=0)
    assert all(np.any(array(layer.kernel)) for layer in m.layers)


def test_pretrained_vectors_stay_unless_only_names_them():
    vectors = np.random.default_rng(0).normal(size=(50, 16)).astype("float32")
    words = layers.Embedding(
        50, 16, embeddings_initializer=keras.initializers.Constant(vectors), name="words"
    )
    m = keras.Sequential([keras.Input((7,), dtype="int32"), words, layers.Flatten(), layers.Dense(3)])
    assert [r.method for r in initialize(m, seed=0).rows if "words" in r.path] == ["given"]
    assert np.array_equal(array(words.embeddings), vectors)
    initialize(m, seed=0, only="words")
    assert not np.array_equal(array(words.embeddings), vectors)


@pytest.mark.parametrize("value", [0.1, [0.1], np.full((8, 8), 0.1)])
def test_a_constant_of_one_number_is_not_given(value):
    m = model(hidden=keras.initializers.Constant(value))
    assert row_of(initialize(m, seed=0), "hidden").method != "given"


@pytest.mark.parametrize("structure", ["identity", repeated])
def test_a_structure_stays_unless_only_names_it(structure):
    m = model(hidden=structure)
    before = array(m.get_layer("hidden").kernel).copy()
    assert row_of(initialize(m, seed=0), "hidden").method == "structured"
    assert np.array_equal(array(m.get_layer("hidden").kernel), before)
    initialize(m, seed=0, only="hidden")
    assert not np.array_equal(array(m.get_layer("hidden").kernel), before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_drawn_again(bad):
    m = model()
    for variable in m.trainable_variables:
        variable.assign(np.full(variable.shape, bad))
    for layer in m.layers[1:]:
        layer.bias.assign(np.zeros(layer.bias.shape))
    initialize(m, seed=0)
    assert all(np.isfinite(array(v)).all() for v in m.variables)


def test_a_draw_of_millions_is_no_structure():
    # A uniform draw chooses among 2^23 values, so each occurs twice here.
    draw = keras.initializers.RandomUniform(seed=0)
    assert not is_structured(keras.Variable(draw, shape=(4096, 4096)))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_repetitions_along_any_axis_of_a_large_kernel(axis):
    values = np.random.default_rng(0).normal(size=(4, 4, 128, 256))
    assert not is_structured(keras.Variable(values, dtype="float32"))
    half = np.take(values, range(values.shape[axis] // 2), axis)
    # Copies that are next to each other, and copies that follow all others.
    for repeated in (np.repeat(half, 2, axis), np.concatenate([half, half], axis)):
        assert is_structured(keras.Variable(repeated, dtype="float32"))


def test_draws_of_initialize_are_no_structure():
    m = keras.Sequential([keras.Input((16,)), *(layers.Dense(16, "relu") for _ in range(8))])
    assert "mirrored" in {row.method for row in initialize(m, seed=0).rows}
    copy = keras.models.clone_model(m)
    copy.set_weights(m.get_weights())
    assert not any(is_structured(v) for v in copy.trainable_variables if len(v.shape) > 1)


@pytest.mark.parametrize(
    ("initializer", "fan_in", "small"),
    [
        (keras.initializers.RandomUniform(-3e-3, 3e-3), 300, True),
        (keras.initializers.Orthogonal(gain=0.01), 64, True),
        (keras.initializers.RandomNormal(stddev=0.01), 64, False),
        (keras.initializers.RandomNormal(stddev=0.02), 768, False),
        # The segments of XLNet.
        (keras.initializers.RandomNormal(stddev=0.02), 2, False),
        (keras.initializers.RandomUniform(-3e-3, 3e-3), 2, True),
        (keras.initializers.RandomUniform(-0.05, 0.05), 16, False),
        ("glorot_uniform", 300, False),
    ],
)
def test_values_far_below_any_scheme(initializer, fan_in, small):
    layer = layers.Dense(8, kernel_initializer=initializer)
    layer.build((None, fan_in))
    assert is_small(layer.kernel, fan_in) == small


SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 4
FILTERS = {
    "Sobel": SOBEL[..., None, None],
    "Sobel by channel": np.tile(SOBEL[..., None, None], (1, 1, 3, 1)),
    "box": np.full((3, 3, 1, 1), 1 / 9),
    "box by channel": np.full((5, 4, 1), 1 / 5),
    "Haar": np.array([[1, 1], [1, -1]])[:, None] / 2**0.5,
    "Haar, one band": np.array([[1, -1], [1, -1]])[..., None, None] / 2,
    "Laplace": np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[..., None, None],
    "binomial": np.array([1, 4, 6, 4, 1])[:, None, None] / 16,
    "identity": np.eye(2),
}
DTYPES = ["float32", "float64", "float16", "bfloat16"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FILTERS)
def test_fixed_filters_of_few_entries(name, dtype):
    assert is_structured(keras.Variable(FILTERS[name], dtype=dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 1), (2, 2), (3, 3), (3, 1, 1), (2, 2, 1, 1), (3, 3, 4, 1), (90, 70)]
)
@pytest.mark.parametrize("name", ["glorot_uniform", "truncated_normal", "orthogonal", "ones", "constant"])
def test_usual_draws_of_few_entries_are_no_structure(name, shape, dtype):
    for _ in range(5):
        initializer = keras.initializers.Constant(0.1) if name == "constant" else keras.initializers.get(name)
        assert not is_structured(keras.Variable(initializer(shape), dtype=dtype))


def test_a_row_of_zeros_for_padding_is_no_structure():
    table = np.random.default_rng(0).normal(size=(3, 8)) * [[0], [1], [1]]
    assert not is_structured(keras.Variable(table, dtype="float32"))
