"""Check which weights and biases of a model are drawn, left as they are, or noted."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError, initialize
from tests.support.networks import plain
from tests.support.recorder import same, values

pytestmark = pytest.mark.check


class TestSelection:
    def test_only_and_skip(self):
        model = plain(6)
        names = [layer.name for layer in model.layers]
        before = [ops.convert_to_numpy(layer.kernel).copy() for layer in model.layers]
        plan = initialize(model, only=names[:3], skip=names[1], seed=1)
        changed = [
            not np.array_equal(b, ops.convert_to_numpy(layer.kernel))
            for b, layer in zip(before, model.layers, strict=True)
        ]
        assert changed == [True, False, True, False, False, False]
        assert [row.method == "kept" for row in plan.rows] == [not c for c in changed]

    def test_a_pattern_that_matches_nothing(self):
        model = plain(3)
        model.layers[0].name = "encoder"
        before = values(model)
        with pytest.raises(
            InitxError, match=r"^`only='dens'` matches no layer and no weight. Did you mean 'dense"
        ):
            initialize(model, only="dens")
        assert same(before, model)


def test_recurrent_kernels_are_orthogonal():
    model = keras.Sequential([keras.Input((6, 5)), layers.GRU(4), layers.Dense(2)])
    plan = initialize(model, seed=0)
    row = next(row for row in plan.rows if row.path.endswith("recurrent_kernel"))
    assert (row.method, row.target) == ("orthogonal", None)
    kernel = ops.convert_to_numpy(model.layers[0].cell.recurrent_kernel)
    for gate in np.split(kernel, 3, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)


def test_the_summary_counts_undrawn_weights_separately():
    model = plain(3)
    model.layers[0].trainable = False
    summary = initialize(model, seed=0).summary()
    assert "initialized 2 of 3 weights by auto (2 variance, 1 frozen)" in summary


def test_a_shared_layer_has_one_row():
    x = keras.Input((16,))
    shared = layers.Dense(16, name="shared")
    plan = initialize(keras.Model(x, shared(shared(x))), seed=0)
    assert [row.path for row in plan.rows] == ["shared/kernel"]


def normalized_branch():
    x = inputs = keras.Input((8,))
    for number in range(3):
        h = layers.BatchNormalization(name=f"bn{number}")(layers.Dense(8, name=f"d{number}")(x))
        x = layers.Add()([x, h])
    return keras.Model(inputs, layers.Dense(2)(x))


def test_frozen_and_skipped_gammas_stay():
    model = normalized_branch()
    model.get_layer("bn0").trainable = False
    initialize(model, "residual", seed=0, skip="bn1")
    gammas = [float(ops.convert_to_numpy(model.get_layer(f"bn{n}").gamma)[0]) for n in range(3)]
    assert gammas == pytest.approx([1, 1, 3**-0.5])


@pytest.mark.parametrize("method", ["auto", "gpn", "shaped"])
@pytest.mark.parametrize("how", [{"skip": "*/bias"}, {"only": "*/kernel"}])
def test_excluded_biases_stay(method, how):
    constant = keras.initializers.Constant(0.3)
    stack = [layers.Dense(8, activation="sigmoid", bias_initializer=constant) for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *stack, layers.Dense(2, bias_initializer=constant)])
    initialize(model, method, seed=0, **how)
    for layer in model.layers:
        np.testing.assert_array_equal(ops.convert_to_numpy(layer.bias), np.float32(0.3))


def test_a_variable_without_a_layer_is_left_as_it_is():
    x = keras.Input((4,))
    loose = keras.Variable(np.eye(4, 3, dtype="float32"))
    model = keras.Model(x, layers.Dense(2)(ops.matmul(x, loose)))
    assert len(initialize(model, seed=0).rows) == 1
    np.testing.assert_array_equal(ops.convert_to_numpy(loose), np.eye(4, 3))


class OwnEmbedding(layers.Embedding):
    pass


class Table(layers.Layer):
    def build(self, shape):
        self.rows = self.add_weight(shape=(9, 4), initializer="uniform", name="rows")

    def call(self, ids):
        return ops.take(self.rows, ids, axis=0)


@pytest.mark.parametrize("layer", [lambda: OwnEmbedding(9, 4), Table])
def test_lookups_of_a_users_own(layer):
    x = keras.Input((5,), dtype="int32")
    lookup = layer()
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(lookup(x))))
    plan = initialize(model, seed=0)
    assert [row.roles for row in plan.rows] == [("embedding",), ("head",)]
    assert [row.rms_after for row in plan.rows] == [1, 1]
    table = ops.convert_to_numpy(lookup.weights[0])
    assert np.sqrt(np.mean(table**2)) == pytest.approx(1, rel=0.2)


class Normed(layers.Layer):
    """A kernel that is normalized before the product: the trace sees a constant computed from it."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        return ops.matmul(x, self.kernel / ops.norm(self.kernel, axis=0))


def test_a_layer_that_normalizes_its_kernel_is_noted():
    x = keras.Input((5,))
    normed = Normed(name="own")
    plan = initialize(keras.Model(x, layers.Dense(2)(normed(x))), seed=0)
    assert plan.closed == ("own",)
    assert any(note.startswith("own: not opened") for note in plan.notes)
    # Its columns have norm 1 whatever the scale of the kernel, so its output on noise has variance 1 already.
    (row,) = (row for row in plan.rows if row.path == "own/kernel")
    assert row.rms_after == pytest.approx(row.rms_before, rel=1e-3)
    assert 0.1 < np.std(ops.convert_to_numpy(normed.kernel)) < 10


class Shifted(layers.Layer):
    """A matrix that is no factor of any product: the layer adds its norm."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        return x + ops.norm(self.kernel)


def test_a_matrix_outside_the_graph_is_noted():
    x = keras.Input((5,))
    plan = initialize(keras.Model(x, layers.Dense(2)(Shifted(name="own")(x))), seed=0)
    assert any("own/kernel" in note for note in plan.notes)


def chain(depth=8, head="out"):
    hidden = [layers.Dense(16, activation="gelu", name=f"h{n}") for n in range(depth)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(3, name=head)])


@pytest.mark.parametrize("how", ["skip", "frozen", "pretrained"])
def test_weights_are_paired_with_drawn_neighbours_only(how):
    model, options = chain(), {}
    if how == "skip":
        options["skip"] = "h3"
    elif how == "frozen":
        model.get_layer("h3").trainable = False
    else:
        options["pretrained"] = keras.Sequential([keras.Input((16,)), layers.Dense(16, name="h3")])
    rows = {row.path.split("/")[-2]: row for row in initialize(model, seed=0, **options).rows}
    assert rows["h3"].method in ("kept", "frozen", "pretrained")
    kernels = {layer.name: ops.convert_to_numpy(layer.kernel) for layer in model.layers}

    def opposite(a):
        return bool(np.allclose(a[0::2], -a[1::2], atol=1e-6))

    ins = {name for name, kernel in kernels.items() if opposite(kernel)}
    outs = {name for name, kernel in kernels.items() if opposite(kernel.T)}
    assert outs == {"h0", "h1", "h4", "h5", "h6", "h7"}
    assert ins == {"h1", "h2", "h5", "h6", "h7", "out"}
    for name in outs:
        assert "opposite units" in rows[name].reason


def test_a_new_head_on_a_pretrained_body_is_not_paired():
    model = chain(head="new")
    plan = initialize(model, pretrained=chain(), seed=0)
    drawn = [row for row in plan.rows if row.method != "pretrained"]
    assert [row.method for row in drawn] == ["variance"]
    kernel = ops.convert_to_numpy(model.layers[-1].kernel)
    assert not np.allclose(kernel[0::2], -kernel[1::2], atol=1e-3)
