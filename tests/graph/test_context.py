import keras
import pytest
from keras import layers, ops

from keras_initx._graph import trace, weight_contexts
from tests.support.contexts import contexts_of

pytestmark = pytest.mark.check


def activation_of_dense(after, **kwargs):
    """Return the activation that the context of a Dense layer names if `after` follows it."""
    x = keras.Input((8,))
    h = layers.Dense(5, name="first", **kwargs)(x)
    return contexts_of(keras.Model(x, layers.Dense(3, name="last")(after(h))))["first"].activation


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
    def test_the_search_looks_through_other_steps(self, after, name):
        assert activation_of_dense(lambda h: layers.Flatten()(after(h))).name == name

    def test_the_activation_of_the_layer_comes_first(self):
        assert activation_of_dense(layers.ReLU(), activation="tanh").name == "tanh"

    def test_parameters_of_an_operation(self):
        activation = activation_of_dense(lambda h: ops.leaky_relu(h, negative_slope=0.4))
        assert activation.negative_slope == 0.4
        assert activation_of_dense(layers.LeakyReLU(negative_slope=0.1)).negative_slope == 0.1

    def test_operations_that_form_an_activation(self):
        exact = activation_of_dense(lambda h: ops.silu(h)).moments().second_moment
        assert activation_of_dense(lambda h: h * ops.sigmoid(h)).moments().second_moment == pytest.approx(
            exact, rel=1e-5
        )
        # E[relu(z)^4] = 3/2.
        assert activation_of_dense(lambda h: ops.relu(h) ** 2).moments().second_moment == pytest.approx(
            1.5, rel=1e-5
        )


class TestChains:
    def depths(self, *between, last=True):
        x = h = keras.Input((8, 8, 2))
        for number in range(3):
            h = layers.Conv2D(2, 3, padding="same", name=f"c{number}", activation="relu")(h)
            if number == 1:
                for layer in between:
                    h = layer(h)
        h = layers.Dense(2, name="head")(layers.Flatten()(h))
        return {name: context.depth for name, context in contexts_of(keras.Model(x, h)).items()}

    def test_a_plain_chain(self):
        assert set(self.depths().values()) == {4}
        assert set(self.depths(layers.Dropout(0.1), layers.MaxPooling2D()).values()) == {4}

    def test_normalizations_and_sums_end_a_chain(self):
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
