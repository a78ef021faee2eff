import keras
import pytest
from keras import layers, ops

from keras_initx._graph import trace, weight_contexts
from tests.support import attention
from tests.support.contexts import contexts_by_name, contexts_of

pytestmark = pytest.mark.check

EVERY_WAY = [*attention.UNSCALED, attention.two_products, attention.divided, attention.normalized]


@pytest.mark.parametrize("compare", EVERY_WAY, ids=lambda compare: compare.__name__)
def test_roles(compare):
    contexts = contexts_of(attention.model_of(compare))
    assert contexts["q"].roles == ("query",)
    assert contexts["k"].roles == ("key",)
    assert contexts["v"].roles == ("value",)
    assert contexts["o"].roles == ("residual_end", "attention_output")
    assert contexts["o"].residuals == 2


def test_query_and_key_of_keras_by_hand():
    """With dropout, Keras computes the product itself, keys first."""
    x = keras.Input((6, 8))
    contexts = contexts_of(keras.Model(x, layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x)))
    for role in ("query", "key", "value"):
        assert contexts[role].roles == (role,)


@pytest.mark.parametrize("layer", [layers.Attention, layers.AdditiveAttention])
def test_attention_layers_of_keras(layer):
    x = keras.Input((6, 8))
    query, key, value = (layers.Dense(8, name=name)(x) for name in "qkv")
    y = layers.Dense(2, name="o")(layer()([query, value, key]))
    contexts = contexts_of(keras.Model(x, y))
    roles = {name: context.roles for name, context in contexts.items() if name in "qkvo"}
    expected = {"q": ("query",), "k": ("key",), "v": ("value",), "o": ("attention_output", "head")}
    assert roles == expected


def test_a_value_is_its_own_key():
    x = keras.Input((6, 8))
    y = layers.Attention()([layers.Dense(8, name="q")(x), layers.Dense(8, name="v")(x)])
    assert contexts_of(keras.Model(x, layers.Dense(2)(y)))["v"].roles == ("key", "value")


@pytest.mark.parametrize("compare", attention.UNSCALED, ids=lambda compare: compare.__name__)
def test_unscaled_scores(compare):
    """A score of width d has variance d f^4 s^2, for a factor f on each side and a learned scale s."""
    contexts = contexts_of(attention.model_of(compare, width=16))
    scale = 3.0 if compare is attention.learned else 1.0
    for side in "qk":
        assert contexts[side].score_factor ** 4 * 16 * scale**2 == pytest.approx(1)
    assert contexts["v"].score_factor == contexts["o"].score_factor == 1


@pytest.mark.parametrize("compare", [attention.divided, attention.normalized])
def test_scores_that_the_author_scales(compare):
    contexts = contexts_of(attention.model_of(compare))
    assert {contexts[side].score_factor for side in "qk"} == {1.0}


def test_fused_attention_takes_its_scale_from_the_argument():
    def factors(scale):
        x = keras.Input((6, 2, 16))
        parts = [layers.EinsumDense("bthd,dc->bthc", (None, 2, 16), name=name)(x) for name in "qkv"]
        y = ops.dot_product_attention(*parts, scale=scale)
        graph = trace(keras.Model(x, layers.Dense(2)(y)))
        return [contexts_by_name(graph)[name].score_factor for name in "qkv"]

    assert factors(None) == factors(0.25) == [1, 1, 1]
    assert factors(1.0) == [0.5, 0.5, 1]


def test_one_side_makes_up_for_the_other():
    x = keras.Input((6, 16))
    queries = layers.Dense(16, name="q")(x)
    y = layers.Dense(2)(layers.Attention()([queries, layers.LayerNormalization()(x)]))
    contexts = weight_contexts(trace(keras.Model(x, y)))
    assert [c.score_factor for c in contexts.values() if c.roles == ("query",)] == [0.25]
