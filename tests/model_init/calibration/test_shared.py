"""Check that a weight with several uses serves all of them: tied tables, tied kernels, shared layers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import initialize
from keras_initx._graph import kernel_groups

V, D, T = 300, 64, 12


class Projection(layers.Layer):
    """Multiply by the transposed table of an embedding, which the layer does not own."""

    def __init__(self, table, how, **kwargs):
        super().__init__(**kwargs)
        self.table, self.how = table, how

    def call(self, h):
        if self.how == "einsum":
            return ops.einsum("btd,vd->btv", h, self.table.embeddings)
        return ops.matmul(h, ops.transpose(self.table.embeddings))


def tied(how, multiplier=1.0, logits=1.0):
    """Return a small decoder whose logits come from its own embedding table."""
    ids = keras.Input((T,), dtype="int32")
    kind = layers.ReversibleEmbedding if how == "reversible" else layers.Embedding
    table = kind(V, D, name="table")
    h = table(ids)
    h = h * multiplier if multiplier != 1 else h
    n = layers.LayerNormalization()(h)
    h = h + layers.MultiHeadAttention(2, 32)(n, n, use_causal_mask=True)
    h = h + layers.Dense(D)(layers.Dense(2 * D, "gelu")(layers.LayerNormalization()(h)))
    h = layers.LayerNormalization()(h)
    out = table(h, reverse=True) if how == "reversible" else Projection(table, how, name="out")(h)
    return keras.Model(ids, out * logits if logits != 1 else out)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def rms(values):
    return float(np.sqrt(np.mean(np.square(array(values), dtype="float64"))))


def ids(n=64):
    return np.random.default_rng(3).integers(0, V, (n, T))


needs_reversible = pytest.mark.skipif(
    not hasattr(layers, "ReversibleEmbedding"), reason="Keras has no ReversibleEmbedding"
)
HOW = [pytest.param("reversible", marks=needs_reversible), "matmul", "einsum"]


class TestTiedTable:
    @pytest.mark.parametrize("how", HOW)
    def test_the_first_loss_is_near_ln_v(self, how):
        model = tied(how)
        plan = initialize(model, seed=0)
        x = ids()
        logits = array(model(x)).astype("float64")
        log_sum = np.log(np.exp(logits).sum(-1))
        # The mean over all targets: ln V plus half of the variance of the logits, which is 1.
        assert np.mean(log_sum[..., None] - logits) == pytest.approx(np.log(V) + 0.5, abs=0.2)
        assert rms(model.get_layer("table").embeddings) == pytest.approx(D**-0.5, rel=0.1)
        row = plan.rows[0]
        assert row.method == "tied"
        assert {"embedding", "head"} <= set(row.roles)
        assert [use.path for use in row.uses] == ["table", "table" if how == "reversible" else "out"]
        assert [use.roles for use in row.uses] == [("embedding",), ("head",)]
        assert row.uses[0].rms == pytest.approx(D**-0.5, rel=0.1)
        assert row.uses[1].rms == pytest.approx(1, rel=0.1)
        assert "2 uses: embedding in table" in row.reason

    def test_a_multiplier_after_the_lookup_leaves_the_table(self):
        """Gemma multiplies by sqrt(width): its rows then have size 1, and its logits too."""
        model = tied("matmul", D**0.5)
        initialize(model, seed=0)
        assert rms(model.get_layer("table").embeddings) == pytest.approx(D**-0.5, rel=0.1)
        assert rms(model(ids())) == pytest.approx(1, rel=0.1)

    def test_a_multiplier_after_the_logits(self):
        model = tied("matmul", logits=0.25)
        initialize(model, seed=0)
        assert rms(model(ids())) == pytest.approx(1, rel=0.1)

    @pytest.mark.parametrize("method", ["variance", "he_auto", "orthogonal", "lsuv"])
    def test_other_methods(self, method):
        model = tied("matmul")
        initialize(model, method, data=ids() if method == "lsuv" else None, seed=0)
        assert rms(model(ids())) == pytest.approx(1, rel=0.25)

    def test_it_belongs_to_no_group(self):
        assert not [path for path in kernel_groups(tied("matmul")) if "embeddings" in path]

    def test_an_excluded_table_keeps_every_bit(self):
        model = tied("matmul")
        before = array(model.get_layer("table").embeddings).copy()
        row = initialize(model, seed=0, skip="table").rows[0]
        assert row.method == "kept"
        assert np.array_equal(before, array(model.get_layer("table").embeddings))

    def test_without_a_normalization_the_table_is_found_by_repetition(self):
        """Both the signal and the projection grow with the table: one division would miss the target."""
        model = Decoder(norm=None)
        model(ids(2))
        initialize(model, data=ids(), seed=0)
        assert rms(model(ids())) == pytest.approx(1, rel=0.15)

    @needs_reversible
    def test_untied_tables_have_their_own_sizes(self):
        x = keras.Input((T,), dtype="int32")
        table = layers.ReversibleEmbedding(V, D, tie_weights=False, name="table")
        h = layers.LayerNormalization()(layers.Dense(D)(table(x)))
        model = keras.Model(x, table(h, reverse=True))
        rows = {row.path: row for row in initialize(model, seed=0).rows}
        assert rms(table.embeddings) == pytest.approx(1, rel=0.05)
        assert rms(model(ids())) == pytest.approx(1, rel=0.1)
        assert rows["table/embeddings"].roles == ("embedding",)
        assert rows["table/reverse_embeddings"].roles == ("head",)

    def test_in_half_precision(self):
        dtype = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = tied("matmul")
        finally:
            keras.config.set_dtype_policy(dtype)
        initialize(model, seed=0)
        assert rms(ops.cast(model(ids()), "float32")) == pytest.approx(1, rel=0.1)


class Decoder(keras.Model):
    """A decoder that adds a table of positions to its tied embedding."""

    def __init__(self, norm=layers.LayerNormalization):
        super().__init__()
        self.table = layers.Embedding(V, D, name="table")
        self.positions = layers.Embedding(T, D, name="positions")
        self.norm = norm() if norm else layers.Identity()

    def call(self, x):
        h = self.table(x) * 4.0 + self.positions(ops.arange(T))
        return ops.matmul(self.norm(h), ops.transpose(self.table.embeddings))


def test_positions_take_the_size_of_the_rows_of_a_tied_table():
    model = Decoder()
    model(ids(2))
    initialize(model, data=ids(), seed=0)
    assert rms(model.positions.embeddings) == pytest.approx(4 * rms(model.table.embeddings), rel=0.15)
    assert rms(model(ids())) == pytest.approx(1, rel=0.1)


class Decode(layers.Layer):
    """Multiply by the transposed kernel of a dense layer."""

    def __init__(self, other, **kwargs):
        super().__init__(**kwargs)
        self.other = other

    def call(self, h):
        return ops.matmul(h, ops.transpose(self.other.kernel))


@pytest.mark.parametrize(("width", "code"), [(64, 16), (16, 64)])
def test_a_tied_autoencoder_serves_both_directions(width, code):
    x = keras.Input((width,))
    encoder = layers.Dense(code, "relu", name="encoder")
    model = keras.Model(x, Decode(encoder, name="decoder")(encoder(x)))
    (row,) = initialize(model, seed=0).rows
    z = np.random.default_rng(5).standard_normal((2048, width)).astype("float32")
    kernel = array(encoder.kernel)
    first, second = rms(z @ kernel), rms(np.maximum(z @ kernel, 0) @ kernel.T)
    assert np.sqrt((first**2 + second**2) / 2) == pytest.approx(1, rel=0.15)
    assert [use.rms for use in row.uses] == pytest.approx([first, second], rel=0.15)
    assert row.roles == ("head",)


@pytest.mark.parametrize("calls", [2, 6])
def test_a_layer_that_is_called_in_a_row_serves_every_call(calls):
    h = x = keras.Input((32,))
    shared = layers.Dense(32, "relu")
    for _ in range(calls):
        h = shared(h)
    (row,) = initialize(keras.Model(x, h), seed=0).rows
    z, sizes = np.random.default_rng(5).standard_normal((2048, 32)).astype("float32"), []
    for _ in range(calls):
        sizes.append(rms(z @ array(shared.kernel)))
        z = np.maximum(z @ array(shared.kernel), 0)
    assert np.sqrt(np.mean(np.square(sizes))) == pytest.approx(1, rel=0.2)
    assert len(row.uses) == calls


def test_the_size_of_a_use_leaves_the_bias_out():
    x = keras.Input((32,))
    shared = layers.Dense(32, bias_initializer=keras.initializers.Constant(7.0))
    model = keras.Model([x, y := keras.Input((32,))], [shared(x), shared(y)])
    (row,) = initialize(model, seed=0).rows
    assert [use.rms for use in row.uses] == pytest.approx([row.target] * 2, rel=0.1)


@pytest.mark.check
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="the constant is a view of the table")
@pytest.mark.parametrize(("letters", "read"), [("dv", ops.transpose), ("vd", ops.copy)])
def test_a_functional_model_reads_a_copy_of_the_table(letters, read):
    """The logits do not change with the table, so the product is no use of it, and a note says so."""
    ids = keras.Input((T,), dtype="int32")
    table = layers.Embedding(V, D, name="table")
    h = layers.Dense(D, name="inner")(table(ids))
    model = keras.Model(ids, ops.einsum(f"btd,{letters}->btv", h, read(table.embeddings)))
    copy = array(table.embeddings).copy()
    plan = initialize(model, seed=0)
    noise = np.random.default_rng(0).integers(0, V, (8, T))
    hidden = keras.Model(ids, h)(noise)
    assert np.allclose(array(model(noise)), array(hidden) @ copy.T, atol=1e-3)
    assert [row.method == "tied" or bool(row.uses) for row in plan.rows] == [False, False]
    assert len([note for note in plan.notes if "a copy of table/embeddings" in note]) == 1
