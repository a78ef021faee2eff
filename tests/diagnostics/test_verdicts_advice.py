"""`initialize` is recommended for the weights that it would draw, and for no others."""

import keras
import pytest
from keras import layers

from keras_initx import initialize
from keras_initx.diagnostics import diagnose
from tests.support.networks import data

pytestmark = pytest.mark.one_backend


def normal(std):
    return keras.initializers.RandomNormal(stddev=std, seed=1)


def text_of(model, x, verdict):
    return next(f.text for f in diagnose(model, x).findings if f.verdict == verdict)


def test_weights_that_initialize_keeps():
    """A head that is tiny on purpose stays, so the advice is the one that changes it."""
    hidden = [layers.Dense(16, "relu", kernel_initializer="he_normal") for _ in range(3)]
    model = keras.Sequential(
        [keras.Input((8,)), *hidden, layers.Dense(2, kernel_initializer=normal(1e-6), name="last")]
    )
    x = data(32, 8)
    for _ in range(2):
        text = text_of(model, x, "vanishing")
        assert "initialize(model)" not in text
        assert f"keeps `{model.layers[-1].kernel.path}` as set on purpose" in text
        assert "name it in only=" in text
        initialize(model, seed=0)
    initialize(model, seed=0, only="last")
    report = diagnose(model, x)
    assert report.healthy, report.summary()


@pytest.mark.parametrize("is_drawn", [True, False])
@pytest.mark.parametrize("is_fused", [True, False])
def test_attention_heads(is_drawn, is_fused):
    inputs = keras.Input((10, 16))
    if is_fused:
        attention = layers.MultiHeadAttention(2, 8, kernel_initializer=normal(0.013), name="mha")
        h = attention(inputs, inputs)
        compared = [attention]
    else:
        compared = [layers.Dense(1, kernel_initializer=normal(0.013)) for _ in range(2)]
        query, key = (layer(inputs) for layer in compared)
        h = layers.Attention(name="att")([query, layers.Dense(8, name="value")(inputs), key])
    model = keras.Model(inputs, layers.Dense(2, name="last")(h))
    if not is_drawn:
        for layer in compared:
            layer.trainable = False
    # Weights elsewhere are drawn already.
    initialize(model, seed=0, only="last")
    text = next(
        f.text
        for f in diagnose(model, data(8, 10, 16)).findings
        if f.verdict == "rank collapse" and "head" in f.text
    )
    assert ("or call initialize(model)" in text) is is_drawn, text


@pytest.mark.parametrize("is_drawn", [True, False])
def test_residual_ends(is_drawn):
    inputs = keras.Input((16,))
    h = inputs
    for n in range(6):
        h = h + layers.Dense(16, kernel_initializer=keras.initializers.HeNormal(seed=n), name=f"end{n}")(h)
    model = keras.Model(inputs, layers.Dense(2, name="last")(h))
    for layer in model.layers:
        if layer.name.startswith("end"):
            layer.trainable = is_drawn
    initialize(model, seed=0, only="last")
    text = text_of(model, data(32, 16), "residual")
    assert ("Try initialize(model)" in text) is is_drawn


@pytest.mark.parametrize("is_drawn", [True, False])
def test_the_first_layer_of_inputs_off_scale(is_drawn):
    hidden = [layers.Dense(16, "relu", name=f"hidden{n}") for n in range(5)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2, name="last")])
    hidden[0].trainable = is_drawn
    initialize(model, seed=0, only="last")
    text = text_of(model, 1e5 * data(32, 8), "input scale")
    assert ("call initialize(model, data=x)" in text) is is_drawn


def test_frozen_weights():
    options = {"trainable": False, "kernel_initializer": normal(1e-6)}
    hidden = [layers.Dense(16, "tanh", **options) for _ in range(4)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2, **options)])
    text = text_of(model, data(32, 8), "vanishing")
    assert "These weights are frozen: load the pretrained ones, normalize the inputs, or make" in text
    assert "initialize(model)" not in text


class Queries(layers.Layer):
    """Learned queries, as in DETR."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1, 5, shape[-1]), initializer="zeros", name="table")
        super().build(shape)

    def call(self, x):
        return keras.ops.broadcast_to(self.table, (keras.ops.shape(x)[0], 5, x.shape[-1]))


def test_units_that_are_alike_because_they_read_zeros():
    x = keras.Input((7, 16))
    h = layers.Dense(16, name="stem")(x)
    queries = Queries(name="queries")(h)
    # They attend to each other first, as in the decoder of DETR: no gradient tells equal keys apart.
    query, key = (layers.Dense(16, name=name)(queries) for name in ("query", "key"))
    queries = queries + layers.Attention()([query, layers.Dense(16)(queries), key])
    attended = layers.Attention()([queries, h])
    model = keras.Model(x, layers.Dense(3, name="last")(attended))
    initialize(model, seed=0)
    text = text_of(model, data(8, 7, 16), "symmetric")
    assert "`query`" in text, text
    assert "It reads zeros: start `queries/table` at random" in text
    # A kernel of equal values is to blame itself.
    kernel = model.get_layer("query").kernel
    kernel.assign(keras.ops.full(kernel.shape, 0.3))
    assert "Draw the kernel at random" in text_of(model, data(8, 7, 16), "symmetric")


@pytest.mark.parametrize(("std", "verdict"), [(1e-4, "vanishing"), (100.0, "exploding")])
def test_a_frozen_backbone_that_loses_the_signal(std, verdict):
    """The new head would be drawn, but what reaches it stays."""
    hidden = [layers.Dense(16, trainable=False, kernel_initializer=normal(std)) for _ in range(4)]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2)])
    for _ in range(2):
        text = text_of(model, data(32, 8), verdict)
        assert "These weights are frozen" in text
        assert "initialize(model)" not in text
        initialize(model, seed=0)


def test_a_frozen_middle_that_only_receives_a_lost_signal():
    middle = [layers.Dense(16, trainable=False, kernel_initializer="he_normal") for _ in range(4)]
    stem = layers.Dense(16, kernel_initializer=normal(1e-6))
    model = keras.Sequential([keras.Input((8,)), stem, *middle, layers.Dense(2)])
    assert "Try initialize(model)" in text_of(model, data(32, 8), "vanishing")
    initialize(model, seed=0)
    assert diagnose(model, data(32, 8)).healthy
