"""What masks do in a model they do where it is computed step by step."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph.masks import arriving, carried_mask, carrying
from keras_initx._graph.replay import compute, replay
from keras_initx._graph.trace import trace


def array(tensor):
    return np.asarray(ops.convert_to_numpy(tensor), dtype="float64")


IDS = np.random.default_rng(0).integers(1, 20, size=(8, 10)).astype("int32")
for row, length in enumerate([10, 3, 7, 1, 5, 10, 2, 9]):
    IDS[row, length:] = 0


def replayed(model, x, copies=True):
    def step(step, args, kwargs):
        # What a handler returns may be another tensor.
        return keras.tree.map_structure(
            lambda t: ops.copy(t) if copies and ops.is_tensor(t) else t, compute(step, args, kwargs)
        )

    return replay(trace(model, x), x, step)


class Block(layers.Layer):
    """A user's own, whose inside sees masks only by what Keras hands on."""

    def __init__(self):
        super().__init__()
        self.attention, self.add = layers.MultiHeadAttention(2, 4), layers.Add()
        self.supports_masking = True

    def call(self, x, mask=None):
        y = self.add([x, self.attention(x, x)])
        return y if mask is None else y * ops.cast(mask[..., None], y.dtype)


class Subclassed(keras.Model):
    """A model that Keras sees nothing of: where a functional one names its masks, it only hands them on."""

    def __init__(self, body):
        super().__init__()
        self.body, self.made = body, []
        self.call(keras.KerasTensor((2, 10), "int32"))

    def call(self, x):
        number = iter(range(100))

        def use(make):
            if (n := next(number)) == len(self.made):
                self.made.append(make())
            return self.made[n]

        return self.body(use, use(table)(x))


def table():
    return layers.Embedding(20, 8, mask_zero=True)


def functional(body):
    given = keras.Input((10,), dtype="int32")
    return keras.Model(given, body(lambda make: make(), table()(given)))


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


# Keras's own grouped attention does not take the masks off, as the other does.
@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
@pytest.mark.parametrize("kind", [functional, subclassed])
@pytest.mark.parametrize("body", [attended, crossed, grouped, plain, pooled, causal, twice])
def test_a_replay_computes_what_the_model_does_and_carries_its_mask(body, kind):
    model = kind(body)
    expected, (found,) = model(IDS), replayed(model, IDS)
    assert array(found) == pytest.approx(array(expected), abs=1e-5)
    masks = carried_mask(expected), carried_mask(found)
    assert (masks[0] is None) == (masks[1] is None)
    if masks[0] is not None:
        assert array(masks[1]).tolist() == array(masks[0]).tolist()


@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
def test_the_mask_is_no_consumer_of_ids_and_unread_ones_are_no_steps():
    read = trace(subclassed(lambda use, x: use(lambda: layers.LSTM(4))(x)), IDS)
    (ids,) = next(s for s in read.steps if s.kind == "Embedding").inputs
    assert [s.kind for s in read.consumers(ids)] == ["Embedding"]
    assert [s.kind for s in read.steps if s.of_mask] == ["NotEqual"]
    unread = trace(subclassed(lambda use, x: use(lambda: layers.Lambda(lambda x: x * 2))(x)), IDS)
    assert not [s for s in unread.steps if s.of_mask]


class Late(layers.Layer):
    """Adds what it is told by a mask that it gets by its name only."""

    def call(self, x, *, mask=None):
        return x if mask is None else x + ops.cast(mask[..., None], x.dtype)


class Without(layers.Layer):
    """One that Keras takes the mask off at, whatever its own code does."""

    def call(self, x):
        return x * 2


class Failing(layers.Layer):
    """One whose masks the trace cannot follow."""

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


def taken_off(use, x):
    use(lambda: layers.MultiHeadAttention(2, 4))(x, x)
    return use(lambda: layers.LSTM(4))(x)


def in_time(use, x):
    folded = ops.reshape(x, (-1, 5, 2, 8))
    inner = use(lambda: layers.Masking(0.5))(folded)
    return use(lambda: layers.TimeDistributed(layers.LSTM(4)))(inner)


@pytest.mark.filterwarnings("ignore:(?s).*does not support masking:UserWarning")
@pytest.mark.parametrize("body", [cast, converted, by_name, destroyed, explicit, taken_off, in_time])
def test_masks_that_are_kept_lost_and_given(body):
    model = subclassed(body)
    expected, (found,) = model(IDS), replayed(model, IDS, copies=False)
    assert array(found) == pytest.approx(array(expected), abs=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has no values within a compiled function")
def test_masks_that_the_trace_cannot_follow_are_those_that_are_computed():
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
    expected, (found,) = model(IDS), replayed(model, IDS, copies=False)
    assert array(found) == pytest.approx(array(expected), abs=1e-5)
    (step,) = (s for s in trace(model, IDS).steps if s.kind == "Failing")
    assert "not have any" in step.opaque or step.opaque.startswith("ValueError")


class TestCarrying:
    def test_a_mask_is_put_on_changed_and_taken_off(self):
        tensor = ops.ones((2, 3, 4))
        assert carried_mask(tensor) is None
        first = carrying(tensor, ops.ones((2, 3), dtype="bool"))
        assert array(carried_mask(first)).all()
        second = carrying(first, ops.zeros((2, 3), dtype="bool"))
        assert not array(carried_mask(second)).any()
        assert carried_mask(carrying(second, None)) is None

    def test_layers_see_it_and_hand_it_on(self):
        mask = ops.convert_to_tensor([[True, False, True]])
        tensor = carrying(ops.ones((1, 3, 4)), mask)
        assert array(carried_mask(layers.Dense(2)(tensor))).tolist() == [[True, False, True]]
        assert array(layers.GlobalAveragePooling1D()(carrying(ops.ones((1, 3, 4)), mask))).shape == (1, 4)


def test_the_names_under_which_keras_hands_masks_to_a_call():
    x = carrying(ops.ones((2, 3, 4)), ops.ones((2, 3), dtype="bool"))
    y = ops.ones((2, 3, 4))
    attention = layers.MultiHeadAttention(1, 2)
    assert set(arriving(attention, (x, y), {})) == {"query_mask"}
    assert set(arriving(attention, (y,), {"value": x, "key": x})) == {"value_mask", "key_mask"}
    assert set(arriving(layers.LSTM(2), (x,), {})) == {"mask"}
    assert not arriving(layers.LSTM(2), (x,), {"mask": ops.zeros((2, 3), dtype="bool")})
    assert not arriving(layers.Dense(2), (x,), {})
