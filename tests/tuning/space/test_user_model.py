"""The user's model: cloned with what its layers learned, and built on a batch."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning.space.user_model import build_on, maker

from keras_initx import InitxError
from tests.support.users_hypermodels import L, UsersHyperModel, of_hp, wide

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


@pytest.mark.parametrize(
    "model", [wide, lambda: wide(), of_hp, UsersHyperModel()], ids=["defaults", "none", "hp", "HyperModel"]
)
def test_a_function_makes_a_new_model_each_time(model: Any) -> None:
    make, hp = maker(model), keras_tuner.HyperParameters()
    one, two = make(hp), make(hp)
    assert one is not two
    assert one.count_params() == wide().count_params()


class TestClone:
    def test_a_nested_adapted_layer_is_kept(self) -> None:
        x = np.random.default_rng(0).normal(3, 2, size=(50, 300)).astype("float32")
        standardize = L.Normalization()
        standardize.adapt(x)
        inner = keras.Sequential([keras.Input((300,)), standardize])
        model = keras.Sequential([keras.Input((300,)), inner, L.Dense(2)])
        model.compile("sgd", "mse")
        copy = maker(model)(None)
        normalized = keras.ops.convert_to_numpy(copy.layers[0](x))
        np.testing.assert_allclose(normalized, keras.ops.convert_to_numpy(inner(x)), rtol=1e-6)

    def test_a_learned_vocabulary_is_kept(self) -> None:
        import tensorflow as tf

        words = tf.constant(["a b", "b c", "c b"])
        vectorize = L.TextVectorization(output_mode="count")
        vectorize.adapt(words)
        model = keras.Sequential([keras.Input((), dtype="string"), vectorize, L.Dense(2)])
        model.compile("sgd", "mse")
        counts = keras.ops.convert_to_numpy(maker(model)(None).layers[0](words))
        # The columns are unknown words, then the words by frequency.
        np.testing.assert_array_equal(counts[:, 1:], [[1, 0, 1], [1, 1, 0], [1, 1, 0]])

    def test_the_copy_is_compiled_like_the_model(self) -> None:
        model = keras.Sequential([keras.Input((4,)), L.Dense(2, activation="softmax")])
        model.compile(
            keras.optimizers.Adam(0.1, beta_1=0.5), "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        copy = maker(model)(None)
        assert copy.optimizer.beta_1 == 0.5
        results = copy.evaluate(np.ones((4, 4)), np.zeros(4), verbose=0, return_dict=True)
        assert results.keys() == {"loss", "accuracy"}


def test_inputs_that_do_not_fit() -> None:
    model = keras.Sequential([L.Reshape((7, 7)), L.Dense(2)])
    with pytest.raises(InitxError, match=r"^`model` .* cannot be built on the data\. Keras: "):
        build_on(model, np.zeros((2, 5), "float32"))
