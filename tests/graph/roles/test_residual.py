import keras
import pytest
from keras import layers, ops

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


def test_what_a_branch_subtracts_ends_it():
    x = h = keras.Input((8,))
    for block in range(3):
        h = h - layers.Dense(8, name=f"end{block}")(layers.Dense(6, activation="relu")(h))
    # The distance of a vector to its code is no stream.
    h = ops.square(h - layers.Dense(8, name="code")(layers.Dense(6, activation="relu")(h)))
    found = contexts_of(keras.Model(x, layers.Dense(2, name="head")(h)))
    ends = {name: (c.residual_number, c.residuals) for name, c in found.items() if "residual_end" in c.roles}
    assert ends == {"end0": (1, 3), "end1": (2, 3), "end2": (3, 3)}


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


class Experts(layers.Layer):
    """Two experts, of which a router chooses, with the weights `weigh(logits)`."""

    def __init__(self, weigh, **kwargs):
        super().__init__(**kwargs)
        self.weigh = weigh
        self.router = layers.Dense(2, name="router")
        self.parts = [layers.Dense(8, name=name) for name in ("first", "second", "first", "second")]

    def build(self, shape):
        for layer in [self.router, *self.parts]:
            layer.build(shape)

    def call(self, x):
        experts = [self.parts[n + 1](ops.relu(self.parts[n](x))) for n in (0, 2)]
        return ops.sum(ops.stack(experts, axis=1) * self.weigh(self.router(x))[..., None], axis=1)


def top_1(logits):
    values, indices = ops.top_k(ops.softmax(logits), 1)
    return ops.sum(ops.one_hot(indices, 2) * (values / ops.sum(values, axis=-1, keepdims=True))[..., None], 1)


def chosen_first(logits):
    values, indices = ops.top_k(logits, 2)
    return ops.sum(ops.one_hot(indices, 2) * ops.softmax(values)[..., None], axis=1)


@pytest.mark.parametrize("weigh", [ops.softmax, top_1, chosen_first])
def test_a_router_is_a_gate_and_no_branch_end(weigh):
    x = y = keras.Input((8,))
    for number in range(2):
        y = y + Experts(weigh, name=f"experts{number}")(layers.LayerNormalization()(y))
    contexts = [c for c in weight_contexts(trace(keras.Model(x, y))).values() if c.kind == "Dense"]
    roles = {c.path.rpartition("/")[2]: set(c.roles) - {"head"} for c in contexts}
    assert roles == {"router": {"gate"}, "first": set(), "second": {"residual_end"}}
    assert not any("head" in c.roles for c in contexts if c.path.endswith("router"))


def test_a_sum_inside_a_gate_is_not_residual():
    x = keras.Input((8,))
    deep = layers.Dense(8, name="deep")(layers.Dense(8, activation="relu")(x))
    gate = ops.sigmoid(layers.Dense(8, name="shallow")(x) + deep)
    model = keras.Model(x, layers.Dense(2)(layers.Dense(8)(x) * gate))
    assert branch_ends(model) == []


def test_a_stream_that_gates_itself_stays_residual():
    x = keras.Input((8,))
    y = x + layers.Dense(8, name="end")(layers.Dense(8, activation="relu")(x))
    model = keras.Model(x, layers.Dense(2)(y * ops.sigmoid(y)))
    assert [end.path for end in branch_ends(model)] == ["end"]


def test_a_sum_of_look_ups_is_not_residual():
    ids, kinds = keras.Input((6,), dtype="int32"), keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 8)(ids) + layers.Embedding(6, 8)(ops.cumsum(ops.ones_like(ids), axis=1) - 1)
    y = y + layers.Embedding(2, 8)(kinds)
    y = y + layers.Dense(8, name="end")(layers.Dense(8, activation="relu")(y))
    ends = branch_ends(keras.Model([ids, kinds], y))
    assert [(end.path, end.residuals) for end in ends] == [("end", 1)]


def attention_layer(q, k, v):
    return layers.Attention()([q, v, k])


def fused(q, k, v):
    q, k, v = (t[:, :, None] for t in (q, k, v))
    return ops.dot_product_attention(q, k, v)[:, :, 0]


@pytest.mark.parametrize("attend", [attention_layer, fused])
def test_an_attention_ends_a_branch_with_its_values(attend):
    # Latents attend to pixels, and their own projection is the stream, as in a Perceiver.
    latents, pixels = keras.Input((4, 8)), keras.Input((9, 8))
    parts = {name: layers.Dense(8, name=name) for name in ("query", "key", "value")}
    q = parts["query"](layers.LayerNormalization()(latents))
    stream = layers.Dense(8, name="before")(pixels)
    stream = attend(q, parts["key"](stream), parts["value"](stream)) + q
    model = keras.Model([latents, pixels], layers.Dense(2)(stream))
    assert [end.path for end in branch_ends(model)] == ["value"]
