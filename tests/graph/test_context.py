import keras
import pytest
from keras import layers, ops

from keras_initx import role
from keras_initx._graph.context import weight_contexts
from keras_initx._graph.trace import trace
from tests.support import zoo


def found(model):
    """The sites of a model by the last part of their path, the first of each."""
    result = {}
    for site in weight_contexts(trace(model)).values():
        result.setdefault(site.path.rpartition("/")[2], site)
    return result


def dense(after, **kwargs):
    x = keras.Input((8,))
    h = layers.Dense(5, name="first", **kwargs)(x)
    return found(keras.Model(x, layers.Dense(3, name="last")(after(h))))["first"].activation


class TestEffectiveActivation:
    @pytest.mark.parametrize(
        ("after", "name"),
        [
            (lambda h: layers.ReLU()(layers.BatchNormalization()(h)), "relu"),
            (lambda h: layers.Activation("gelu")(layers.Dropout(0.1)(h)), "gelu"),
            (lambda h: layers.ReLU()(layers.Add()([h, layers.Dense(5)(h)])), "relu"),
            (lambda h: ops.silu(h), "silu"),
            (lambda h: layers.Activation("tanh")(layers.Reshape((5, 1))(h)), "tanh"),
            (lambda h: h, "linear"),
            (lambda h: layers.Dropout(0.1)(h) * 0.5, "linear"),
        ],
    )
    def test_look_ahead(self, after, name):
        assert dense(lambda h: layers.Flatten()(after(h))).name == name

    def test_its_own_comes_first(self):
        assert dense(layers.ReLU(), activation="tanh").name == "tanh"

    def test_parameters_of_an_operation(self):
        activation = dense(lambda h: ops.leaky_relu(h, negative_slope=0.4))
        assert activation.negative_slope == 0.4
        assert dense(layers.LeakyReLU(negative_slope=0.1)).negative_slope == 0.1

    def test_activations_that_are_put_together(self):
        exact = dense(lambda h: ops.silu(h)).moments().second_moment
        assert dense(lambda h: h * ops.sigmoid(h)).moments().second_moment == pytest.approx(exact, rel=1e-5)
        # E[relu(z)^4] = 3/2.
        assert dense(lambda h: ops.relu(h) ** 2).moments().second_moment == pytest.approx(1.5, rel=1e-5)


class TestRoles:
    def test_residual_ends(self):
        ends = [
            s
            for s in weight_contexts(trace(zoo.residual_cnn(blocks=3))).values()
            if "residual_end" in s.roles
        ]
        assert [s.residual_number for s in ends] == [1, 2, 3]
        assert all(s.residuals == 3 and s.normalized for s in ends)
        plain = [
            s
            for s in weight_contexts(trace(zoo.residual_cnn(False, 3))).values()
            if "residual_end" in s.roles
        ]
        assert not any(s.normalized for s in plain)

    def test_a_projection_is_the_trunk(self):
        x = keras.Input((8,))
        branch = layers.Dense(6, name="end")(layers.Dense(6, name="start", activation="relu")(x))
        trunk = layers.Dense(6, name="projection")(x)
        model = keras.Model(x, layers.Dense(2, name="head")(layers.Add()([trunk, branch])))
        names = {name for name, site in found(model).items() if "residual_end" in site.roles}
        assert names == {"end"}

    def test_parallel_branches_are_not_residual(self):
        x = keras.Input((8,))
        model = keras.Model(x, layers.Dense(6, name="a")(x) + layers.Dense(6, name="b")(x))
        assert not any("residual_end" in site.roles for site in found(model).values())

    @pytest.mark.parametrize(("name", "count"), [("vit", 8), ("gpt", 8), ("wavenet", 4)])
    def test_models(self, name, count):
        roles = [s.roles for s in weight_contexts(trace(zoo.PLAIN[name]())).values()]
        assert sum("residual_end" in r for r in roles) == count

    @pytest.mark.slow
    def test_resnet50_has_sixteen(self):
        graph = trace(keras.applications.ResNet50(weights=None))
        assert sum("residual_end" in s.roles for s in weight_contexts(graph).values()) == 16

    def test_gates(self):
        x = keras.Input((8, 8, 4))
        squeeze = layers.Dense(2, activation="relu", name="squeeze")(layers.GlobalAveragePooling2D()(x))
        excite = layers.Dense(4, name="excite")(squeeze)
        model = keras.Model(x, layers.Conv2D(2, 1, name="out")(x * ops.hard_sigmoid(excite)[:, None, None]))
        assert {name for name, site in found(model).items() if "gate" in site.roles} == {"excite"}

    def test_attention_of_keras_and_by_hand(self):
        x = keras.Input((6, 8))
        layer = layers.MultiHeadAttention(2, 4)
        model = keras.Model(x, layer(x, x))
        roles = {name: site.roles for name, site in found(model).items()}
        assert roles["query"] == ("query",)
        assert roles["key"] == ("key",)
        assert roles["value"] == ("value",)
        assert "attention_output" in roles["attention_output"]
        by_hand = found(zoo.gpt())
        assert set(by_hand["qkv"].roles) == {"query", "key", "value"}
        assert set(by_hand["out"].roles) == {"residual_end", "attention_output"}

    def test_a_router_is_no_attention(self):
        assert not any({"query", "value"} & set(s.roles) for s in found(zoo.subclassed()).values())

    def test_embeddings_and_heads(self):
        sites_ = found(zoo.gpt())
        assert sites_["tokens"].roles == sites_["positions"].roles == ("embedding",)
        assert sites_["logits"].roles == ("head",)
        x = keras.Input((4,))
        h = layers.Dense(4, name="body")(x)
        two = found(keras.Model(x, [layers.Dense(1, name="a")(h), layers.Dense(2, name="b")(h)]))
        assert [two[n].roles for n in ("body", "a", "b")] == [(), ("head",), ("head",)]

    def test_a_declared_role(self):
        @role("gate")
        class Own(layers.Dense):
            pass

        model = keras.Sequential([keras.Input((3,)), Own(3, name="own"), layers.Dense(2)])
        assert found(model)["own"].roles == ("gate",)

    def test_an_unknown_role(self):
        with pytest.raises(ValueError, match=r"^`role` 'gat' is not known\. Did you mean 'gate'\?"):
            role("gat")


class TestChains:
    def depths(self, *between, last=True):
        x = h = keras.Input((8, 8, 2))
        for number in range(3):
            h = layers.Conv2D(2, 3, padding="same", name=f"c{number}", activation="relu")(h)
            if number == 1:
                for layer in between:
                    h = layer(h)
        h = layers.Dense(2, name="head")(layers.Flatten()(h))
        return {name: site.depth for name, site in found(keras.Model(x, h)).items()}

    def test_a_plain_chain(self):
        assert set(self.depths().values()) == {4}
        assert set(self.depths(layers.Dropout(0.1), layers.MaxPooling2D()).values()) == {4}

    def test_what_breaks_it(self):
        assert self.depths(layers.BatchNormalization()) == {"c0": 2, "c1": 2, "c2": 2, "head": 2}
        assert self.depths(lambda h: layers.Add()([h, h * 2.0])) == {"c0": 2, "c1": 2, "c2": 2, "head": 2}

    def test_links(self):
        x = keras.Input((4,))
        h = layers.Activation("tanh")(layers.Dense(4, name="a")(x))
        model = keras.Model(x, layers.Dense(4, name="b", activation="relu")(layers.Dropout(0.1)(h)))
        first, second = weight_contexts(trace(model)).values()
        assert (first.previous, second.previous) == (None, first.step)
        assert (second.incoming_activation.name, second.direct) == ("tanh", True)

    def test_pooling_is_not_direct(self):
        x = keras.Input((8, 2))
        h = layers.AveragePooling1D(2)(layers.Conv1D(2, 3, activation="relu")(x))
        second = list(weight_contexts(trace(keras.Model(x, layers.Conv1D(2, 3)(h)))).values())[1]
        assert second.previous is not None
        assert not second.direct
