"""Masks have the same effect in a replay as in the model."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph.masks import carried_mask, implied_masks, with_mask
from keras_initx._graph.replay import compute, replay
from keras_initx._graph.trace import trace
from tests.support.arrays import array

pytestmark = pytest.mark.check

IDS = np.random.default_rng(0).integers(1, 20, size=(8, 10)).astype("int32")
for row, length in enumerate([10, 3, 7, 1, 5, 10, 2, 9]):
    IDS[row, length:] = 0


def replayed(model, x, copies=True):
    def step(step, args, kwargs):
        # A handler may return another tensor than the model would.
        return keras.tree.map_structure(
            lambda t: ops.copy(t) if copies and ops.is_tensor(t) else t, compute(step, args, kwargs)
        )

    return replay(trace(model, x), x, step)


class Block(layers.Layer):
    """A user's layer that receives masks only because Keras propagates them."""

    def __init__(self):
        super().__init__()
        self.attention, self.add = layers.MultiHeadAttention(2, 4), layers.Add()
        self.supports_masking = True

    def call(self, x, mask=None):
        y = self.add([x, self.attention(x, x)])
        return y if mask is None else y * ops.cast(mask[..., None], y.dtype)


class Subclassed(keras.Model):
    """A model without a Keras graph: it relies on the propagation of masks from layer to layer."""

    def __init__(self, body):
        super().__init__()
        self.body, self.parts = body, []
        self.call(keras.KerasTensor((2, 10), "int32"))

    def call(self, x):
        number = iter(range(100))

        def use(make):
            if (n := next(number)) == len(self.parts):
                self.parts.append(make())
            return self.parts[n]

        return self.body(use, use(table)(x))


def table():
    return layers.Embedding(20, 8, mask_zero=True)


def functional(body):
    ids = keras.Input((10,), dtype="int32")
    return keras.Model(ids, body(lambda make: make(), table()(ids)))


def subclassed(body):
    model = Subclassed(body)
    model(IDS)
    return model


def attended(use, x):
    return use(layers.Add)([x, use(lambda: layers.MultiHeadAttention(2, 4))(x, x)])


def crossed(use, x):
    return use(lambda: layers.MultiHeadAttention(2, 4))(use(lambda: layers.Dense(8))(x), x, x)


def grouped(use, x):
    return use(lambda: layers.GroupQueryAttention(4, 2, 1))(x, x)


def plain(use, x):
    return use(layers.Attention)([x, x])


def pooled(use, x):
    return use(layers.GlobalAveragePooling1D)(use(Block)(x))


def causal(use, x):
    return use(lambda: layers.MultiHeadAttention(2, 4))(x, x, use_causal_mask=True)


def twice(use, x):
    return attended(use, use(layers.LayerNormalization)(attended(use, x)))


# Unlike MultiHeadAttention, Keras's grouped attention does not remove the masks of its inputs.
@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
@pytest.mark.parametrize("kind", [functional, subclassed])
@pytest.mark.parametrize("body", [attended, crossed, grouped, plain, pooled, causal, twice])
def test_a_replay_has_the_outputs_and_masks_of_the_model(body, kind):
    model = kind(body)
    expected, (actual,) = model(IDS), replayed(model, IDS)
    assert array(actual) == pytest.approx(array(expected), abs=1e-5)
    masks = carried_mask(expected), carried_mask(actual)
    assert (masks[0] is None) == (masks[1] is None)
    if masks[0] is not None:
        assert array(masks[1]).tolist() == array(masks[0]).tolist()


@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
def test_masks_are_not_consumers_and_unread_masks_are_dropped():
    read = trace(subclassed(lambda use, x: use(lambda: layers.LSTM(4))(x)), IDS)
    (ids,) = next(s for s in read.steps if s.kind == "Embedding").inputs
    assert [s.kind for s in read.consumers(ids)] == ["Embedding"]
    assert [s.kind for s in read.steps if s.of_mask] == ["NotEqual"]
    unread = trace(subclassed(lambda use, x: use(lambda: layers.Lambda(lambda x: x * 2))(x)), IDS)
    assert not [s for s in unread.steps if s.of_mask]


class Late(layers.Layer):
    """Adds its mask, which it accepts by name only."""

    def call(self, x, *, mask=None):
        return x if mask is None else x + ops.cast(mask[..., None], x.dtype)


class Without(layers.Layer):
    """Does not support masking, so that Keras removes the mask."""

    def call(self, x):
        return x * 2


class Failing(layers.Layer):
    """Computes a mask that the trace cannot follow."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, x):
        return x * 2

    def compute_mask(self, inputs, previous_mask):
        halves = ops.logical_not(previous_mask)
        return ops.convert_to_tensor(np.asarray(ops.convert_to_numpy(halves)))


def cast(use, x):
    return use(lambda: layers.LSTM(4))(ops.cast(x, "float32"))


def converted(use, x):
    return use(lambda: layers.LSTM(4))(ops.convert_to_tensor(x))


def by_name(use, x):
    return use(lambda: layers.LSTM(4))(use(Late)(x))


def destroyed(use, x):
    return use(lambda: layers.LSTM(4))(use(Without)(x))


def explicit(use, x):
    return use(lambda: layers.LSTM(4))(
        use(lambda: layers.Dense(8))(x), mask=ops.ones(ops.shape(x)[:2], "bool")
    )


def removed(use, x):
    use(lambda: layers.MultiHeadAttention(2, 4))(x, x)
    return use(lambda: layers.LSTM(4))(x)


def folded_time(use, x):
    folded = ops.reshape(x, (-1, 5, 2, 8))
    inner = use(lambda: layers.Masking(0.5))(folded)
    return use(lambda: layers.TimeDistributed(layers.LSTM(4)))(inner)


@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
@pytest.mark.parametrize("body", [cast, converted, by_name, destroyed, explicit, removed, folded_time])
def test_masks_that_are_kept_lost_and_passed(body):
    model = subclassed(body)
    expected, (actual,) = model(IDS), replayed(model, IDS, copies=False)
    assert array(actual) == pytest.approx(array(expected), abs=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no values within a compiled function")
def test_a_mask_that_the_trace_cannot_follow_is_computed_by_its_layer():
    class Chain(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [table(), Failing(), layers.LSTM(4)]

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    model = Chain()
    model(IDS)
    expected, (actual,) = model(IDS), replayed(model, IDS, copies=False)
    assert array(actual) == pytest.approx(array(expected), abs=1e-5)
    (step,) = (s for s in trace(model, IDS).steps if s.kind == "Failing")
    assert "not have any" in step.opaque or step.opaque.startswith("ValueError")


class TestWithMask:
    def test_a_mask_is_set_replaced_and_removed(self):
        tensor = ops.ones((2, 3, 4))
        assert carried_mask(tensor) is None
        first = with_mask(tensor, ops.ones((2, 3), dtype="bool"))
        assert array(carried_mask(first)).all()
        second = with_mask(first, ops.zeros((2, 3), dtype="bool"))
        assert not array(carried_mask(second)).any()
        assert carried_mask(with_mask(second, None)) is None

    def test_layers_read_and_propagate_it(self):
        mask = ops.convert_to_tensor([[True, False, True]])
        tensor = with_mask(ops.ones((1, 3, 4)), mask)
        assert array(carried_mask(layers.Dense(2)(tensor))).tolist() == [[True, False, True]]
        assert array(layers.GlobalAveragePooling1D()(with_mask(ops.ones((1, 3, 4)), mask))).shape == (1, 4)


def test_the_argument_names_of_implied_masks():
    x = with_mask(ops.ones((2, 3, 4)), ops.ones((2, 3), dtype="bool"))
    y = ops.ones((2, 3, 4))
    attention = layers.MultiHeadAttention(1, 2)
    assert set(implied_masks(attention, (x, y), {})) == {"query_mask"}
    assert set(implied_masks(attention, (y,), {"value": x, "key": x})) == {"value_mask", "key_mask"}
    assert set(implied_masks(layers.LSTM(2), (x,), {})) == {"mask"}
    assert not implied_masks(layers.LSTM(2), (x,), {"mask": ops.zeros((2, 3), dtype="bool")})
    assert not implied_masks(layers.Dense(2), (x,), {})
