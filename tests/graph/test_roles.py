import keras
import pytest
from keras import layers, ops

from keras_initx import InitxError, role
from keras_initx._graph import trace, weight_contexts
from tests.support import zoo
from tests.support.contexts import contexts_by_name, contexts_of

pytestmark = pytest.mark.check


def branch_ends(model):
    contexts = weight_contexts(trace(model)).values()
    return [context for context in contexts if "residual_end" in context.roles]


def test_residual_ends():
    ends = branch_ends(zoo.residual_cnn(blocks=3))
    assert [end.residual_number for end in ends] == [1, 2, 3]
    assert all(end.residuals == 3 and end.normalized for end in ends)
    assert not any(end.normalized for end in branch_ends(zoo.residual_cnn(normalized=False, blocks=3)))


def test_a_projection_is_the_trunk():
    x = keras.Input((8,))
    branch = layers.Dense(6, name="end")(layers.Dense(6, name="start", activation="relu")(x))
    trunk = layers.Dense(6, name="projection")(x)
    model = keras.Model(x, layers.Dense(2, name="head")(layers.Add()([trunk, branch])))
    names = {name for name, context in contexts_of(model).items() if "residual_end" in context.roles}
    assert names == {"end"}


def test_parallel_branches_are_not_residual():
    x = keras.Input((8,))
    model = keras.Model(x, layers.Dense(6, name="a")(x) + layers.Dense(6, name="b")(x))
    assert not any("residual_end" in context.roles for context in contexts_of(model).values())


@pytest.mark.parametrize(("name", "count"), [("vit", 8), ("gpt", 8), ("wavenet", 4)])
def test_models(name, count, plain_graph):
    roles = [s.roles for s in weight_contexts(plain_graph(name)).values()]
    assert sum("residual_end" in r for r in roles) == count


@pytest.mark.slow
def test_resnet50_has_sixteen(application):
    contexts = weight_contexts(trace(application("ResNet50"))).values()
    assert sum("residual_end" in context.roles for context in contexts) == 16


def test_gates():
    x = keras.Input((8, 8, 4))
    squeeze = layers.Dense(2, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
    excite = layers.Dense(4, name="excite")(squeeze)
    model = keras.Model(x, layers.Conv2D(2, 1, name="out")(x * ops.hard_sigmoid(excite)[:, None, None]))
    assert {name for name, context in contexts_of(model).items() if "gate" in context.roles} == {"excite"}


def test_attention_of_keras_and_by_hand(plain_graph):
    x = keras.Input((6, 8))
    layer = layers.MultiHeadAttention(2, 4)
    model = keras.Model(x, layer(x, x))
    roles = {name: context.roles for name, context in contexts_of(model).items()}
    assert roles["query"] == ("query",)
    assert roles["key"] == ("key",)
    assert roles["value"] == ("value",)
    assert "attention_output" in roles["attention_output"]
    by_hand = contexts_by_name(plain_graph("gpt"))
    assert set(by_hand["qkv"].roles) == {"query", "key", "value"}
    assert set(by_hand["out"].roles) == {"residual_end", "attention_output"}


def test_a_router_is_no_attention(plain_graph):
    contexts = contexts_by_name(plain_graph("subclassed")).values()
    assert not any({"query", "value"} & set(context.roles) for context in contexts)


def test_embeddings_and_heads(plain_graph):
    contexts = contexts_by_name(plain_graph("gpt"))
    assert contexts["tokens"].roles == contexts["positions"].roles == ("embedding",)
    assert contexts["logits"].roles == ("head",)
    x = keras.Input((4,))
    h = layers.Dense(4, name="body")(x)
    two = contexts_of(keras.Model(x, [layers.Dense(1, name="a")(h), layers.Dense(2, name="b")(h)]))
    assert [two[n].roles for n in ("body", "a", "b")] == [(), ("head",), ("head",)]


def test_a_declared_role():
    @role("gate")
    class Own(layers.Dense):
        pass

    model = keras.Sequential([keras.Input((3,)), Own(3, name="own"), layers.Dense(2)])
    assert contexts_of(model)["own"].roles == ("gate",)


def test_an_unknown_role():
    with pytest.raises(InitxError, match=r"^`role` 'gat' is not known\. Did you mean 'gate'\?"):
        role("gat")


def test_a_role_without_a_name_or_a_layer():
    class Plain(layers.Layer):
        pass

    with pytest.raises(InitxError, match=r"^`role` must be one of residual_end, .* @role\(\"gate\"\)\.$"):
        role(Plain)
    with pytest.raises(InitxError, match=r"^`role` decorates a layer class, not <class 'dict'>\.$"):
        role("gate")(dict)
