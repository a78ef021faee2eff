import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph import trace
from keras_initx._graph.inputs.kinds import argument_names, is_mask, table_rows

pytestmark = pytest.mark.check

LENGTH = 8


def language_model(join, dtype="int32"):
    """Return a small decoder whose padding mask meets a causal mask in `join`."""
    ids, padding = keras.Input((LENGTH,), dtype="int32"), keras.Input((LENGTH,), dtype=dtype)
    x = layers.Embedding(50, 16)(ids)
    x = layers.MultiHeadAttention(2, 8)(x, x, attention_mask=join(padding))
    return keras.Model([ids, padding], layers.Dense(3)(x))


def causal(dtype="int32"):
    return ops.cast(ops.expand_dims(ops.arange(LENGTH)[:, None] >= ops.arange(LENGTH), axis=0), dtype)


JOINS = {
    "minimum": lambda p: ops.minimum(ops.cast(ops.expand_dims(p, 1), "int32"), causal()),
    "multiply": lambda p: ops.expand_dims(p, 1) * causal(),
    "logical and": lambda p: ops.logical_and(ops.cast(p, "bool")[:, None], causal("bool")),
    "where": lambda p: ops.where(causal("bool"), ops.expand_dims(p, 1), 0),
    "comparison": lambda p: ops.logical_and(ops.expand_dims(p, 1) > 0, causal("bool")),
    "broadcast and stack": lambda p: ops.min(
        ops.stack([ops.broadcast_to(p[:, None], (2, LENGTH, LENGTH)), ops.repeat(causal(), 2, axis=0)]), 0
    ),
    "repeat": lambda p: ops.repeat(ops.expand_dims(p, 1), LENGTH, axis=1),
    "triangle": lambda p: ops.tril(ops.repeat(ops.expand_dims(p, 1), LENGTH, axis=1)),
    "outer product": lambda p: ops.matmul(p[:, :, None], p[:, None]),
    "complement": lambda p: ops.equal(1 - ops.expand_dims(p, 1), 0),
    "bitwise and": lambda p: ops.bitwise_and(ops.expand_dims(p, 1), causal()),
    "bitwise or": lambda p: ops.bitwise_not(ops.bitwise_or(1 - p[:, None], 1 - causal())),
    "bitwise xor": lambda p: ops.bitwise_xor(ops.expand_dims(p, 1), causal()),
    "operators": lambda p: (p[:, None] == 1) & ~(causal() == 0) | causal("bool"),
    "sum above 1": lambda p: ops.expand_dims(p, 1) + causal() > 1,
    "sum equal to 2": lambda p: ops.equal(ops.add(causal(), ops.expand_dims(p, 1)), 2),
    "sum of floats": lambda p: ops.cast(p, "float32")[:, None] + causal("float32") >= 1.5,
    "sum minus 1": lambda p: ops.maximum(p[:, None] + causal() - 1, 0),
    "clipped sum": lambda p: ops.clip(p[:, None] + causal(), 0, 1),
    "half of a sum": lambda p: (p[:, None] + causal()) // 2,
    "subtract from 1": lambda p: 1 - ops.maximum(1 - p[:, None], 1 - causal()),
    "sum of complements": lambda p: (1 - ops.expand_dims(p, 1)) + (1 - causal()) < 1,
    "chain of casts": lambda p: ops.cast(ops.cast(ops.cast(p, "bool"), "float32")[:, None], "bool"),
    "where of a sum": lambda p: ops.where(p[:, None] + causal() > 1, 1, 0),
    "condition": lambda p: ops.where(ops.cast(p, "bool")[:, None], causal(), 0),
    "not equal": lambda p: ops.logical_not(ops.not_equal(p[:, None] * causal(), 1)),
    "all": lambda p: ops.all(
        ops.stack([ops.repeat(p[:, None], LENGTH, 1) > 0, ops.repeat(p[:, :, None], LENGTH, 2) > 0]), axis=0
    ),
}


def one_input(function, dtype="int32"):
    """Return the trace of a model that computes `function` of integers, and the number of its input."""
    i = keras.Input((LENGTH,), dtype=dtype)
    graph = trace(keras.Model(i, function(i)))
    return graph, graph.inputs[0]


class TestIsMask:
    @pytest.mark.parametrize("join", JOINS)
    def test_a_padding_mask_that_meets_a_causal_mask(self, join):
        graph = trace(language_model(JOINS[join]))
        ids, padding = graph.inputs
        assert is_mask(graph, padding)
        assert table_rows(graph, padding) is None
        assert table_rows(graph, ids) == 50
        assert not is_mask(graph, ids)

    @pytest.mark.parametrize(
        "additive",
        [
            lambda p: (1 - ops.cast(p, "float32")) * -1e9,
            lambda p: (ops.cast(p, "float32") - 1) * 1e9,
            lambda p: ops.log(ops.cast(p, "float32") + 1e-9),
            lambda p: -1e9 * ops.cast(p + causal()[0, :1] < 2, "float32"),
        ],
    )
    def test_a_mask_that_is_added_to_scores(self, additive):
        x, padding = keras.Input((LENGTH, 4)), keras.Input((LENGTH,), dtype="int32")
        weights = ops.softmax(layers.Dense(LENGTH)(x) + additive(padding)[:, None])
        graph = trace(keras.Model([x, padding], layers.Dense(2)(weights)))
        assert is_mask(graph, graph.inputs[1])

    def test_the_length_of_the_unmasked_part(self):
        def pooled(mask):
            x = layers.Embedding(9, 4)(ops.ones_like(mask))
            weights = ops.cast(mask, "float32")[..., None]
            return ops.sum(x * weights, axis=1) / ops.sum(weights, axis=1)

        assert is_mask(*one_input(pooled))

    def test_an_argument_named_mask_of_a_closed_layer(self):
        class Closed(layers.Layer):
            def call(self, x, padding_mask):
                if isinstance(x, keras.KerasTensor):
                    raise TypeError("no symbolic form")
                return x * ops.cast(padding_mask, x.dtype)[..., None]

            def compute_output_spec(self, x, padding_mask):
                return keras.KerasTensor(x.shape, x.dtype)

        x, mask = keras.Input((LENGTH, 4)), keras.Input((LENGTH,), dtype="int32")
        graph = trace(keras.Model([x, mask], layers.Dense(2)(Closed()(x, padding_mask=mask))))
        assert is_mask(graph, graph.inputs[1])

    def test_an_input_that_nothing_reads(self):
        x, unread = keras.Input((4,)), keras.Input((4,), dtype="int32")
        graph = trace(keras.Model([x, unread], layers.Dense(2)(x)))
        assert is_mask(graph, graph.inputs[1])

    @pytest.mark.parametrize(
        "function",
        [
            lambda i: layers.Dense(2)(ops.log1p(ops.cast(i, "float32"))),
            lambda i: layers.Dense(2)(ops.cast(i, "float32") / 100),
            lambda i: layers.Dense(2)(ops.minimum(ops.cast(i, "float32"), 9.0)),
            lambda i: layers.Dense(2)(ops.sum(ops.cast(i, "float32"), axis=1, keepdims=True)),
            lambda i: layers.Embedding(9, 4)(i + 1),
            lambda i: layers.Dense(2)(ops.cast(i + 1, "float32")),
            lambda i: layers.Dense(2)(ops.cast(ops.bitwise_and(i, ops.full_like(i, 255)), "float32")),
        ],
    )
    def test_numbers_are_no_mask(self, function):
        assert not is_mask(*one_input(function))

    @pytest.mark.parametrize(
        "after", [lambda x: x, ops.relu, lambda x: ops.relu(x) * layers.Dense(LENGTH)(x)]
    )
    def test_numbers_that_are_added_to_a_signal_are_no_mask(self, after):
        x, i = keras.Input((4,)), keras.Input((LENGTH,), dtype="int32")
        y = after(layers.Dense(LENGTH)(x) + ops.cast(i, "float32"))
        graph = trace(keras.Model([x, i], layers.Dense(2)(y)))
        assert not is_mask(graph, graph.inputs[1])


class TestTableRows:
    @pytest.mark.parametrize(
        "link",
        [
            lambda i: ops.minimum(i, 100),
            lambda i: ops.where(i > 2, i, 0),
            lambda i: ops.concatenate([i, i], axis=1),
            lambda i: ops.flip(ops.broadcast_to(i[:, None], (2, 3, LENGTH)), axis=2),
        ],
    )
    def test_ids_on_their_way_to_a_table(self, link):
        assert table_rows(*one_input(lambda i: layers.Embedding(9, 4)(link(i)))) == 9

    def test_the_smallest_table_counts(self):
        graph, i = one_input(lambda i: layers.Embedding(9, 4)(i) + layers.Embedding(7, 4)(i))
        assert table_rows(graph, i) == 7

    @pytest.mark.parametrize("gathers", [ops.take, lambda x, i: ops.take_along_axis(x, i, axis=1)])
    def test_positions_in_another_tensor(self, gathers):
        x, i = keras.Input((5, 4)), keras.Input((3, 1), dtype="int32")
        along = (lambda x, i: ops.take(x, i[0, :, 0], axis=1)) if gathers is ops.take else gathers
        graph = trace(keras.Model([x, i], layers.Dense(2)(along(x, i))))
        assert table_rows(graph, graph.inputs[1]) == 5
        assert table_rows(graph, graph.inputs[0]) is None


def test_argument_names():
    class Two(layers.Layer):
        def call(self, x, pair=None):
            return x + pair[0] * pair[1]

    x, one, other = (keras.Input((3,)) for _ in range(3))
    two = Two()
    model = keras.Model([x, one, other], layers.Dense(2)(two(x, pair=[one, other])))
    graph = trace(model)
    assert np.all([argument_names(s, s.inputs[0]) == {"x1"} for s in graph.steps if s.kind == "Add"])
    step = next(s for s in graph.steps if s.kind == "Dense")
    assert argument_names(step, step.inputs[0]) == {"inputs"}
