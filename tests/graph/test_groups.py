import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError, kernel_groups

pytestmark = pytest.mark.check


def by_layer(model, data=None):
    return {path.split("/")[-2]: group for path, group in kernel_groups(model, data).items()}


def test_a_convolutional_network():
    x = inputs = keras.Input((8, 8, 3))
    for number in range(3):
        x = layers.Conv2D(4, 3, padding="same", name=f"c{number}")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.GlobalAveragePooling2D()(x)))
    assert by_layer(model) == {"c0": "stem", "c1": "hidden", "c2": "hidden", "out": "head"}


def test_two_inputs_have_two_stems_and_two_outputs_two_heads():
    a, b = keras.Input((3,)), keras.Input((5,))
    x = layers.Dense(4, name="a")(a) + layers.Dense(4, name="b")(b)
    x = layers.Dense(4, name="middle")(ops.relu(x))
    model = keras.Model([a, b], [layers.Dense(1, name="one")(x), layers.Dense(2, name="two")(x)])
    assert by_layer(model) == {"a": "stem", "b": "stem", "middle": "hidden", "one": "head", "two": "head"}


def test_words_attention_and_recurrence():
    ids = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, name="table")(ids)
    x = layers.Dense(8, name="first")(x)
    x = x + layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LSTM(5, name="lstm")(x)
    groups = kernel_groups(keras.Model(ids, layers.Dense(2, name="out")(x)))
    assert "table/embeddings" not in groups
    assert groups["first/kernel"] == "stem"
    attention = [group for path, group in groups.items() if path.startswith("attention")]
    assert attention == ["attention"] * 4
    recurrent = [group for path, group in groups.items() if path.startswith("lstm")]
    assert recurrent == ["recurrent"] * 2
    assert groups["out/kernel"] == "head"


def test_a_single_layer_is_the_head():
    assert by_layer(keras.Sequential([keras.Input((3,)), layers.Dense(2, name="d")])) == {"d": "head"}


def test_a_subclassed_model_must_be_built(plain_model):
    groups = kernel_groups(plain_model("subclassed"))
    assert set(groups.values()) <= {"stem", "hidden", "head", "attention"}
    with pytest.raises(InitxError, match=r"^`model` '.*' is not built\."):
        kernel_groups(keras.Sequential([layers.Dense(2)]))


@pytest.mark.parametrize("name", ["vit", "gpt", "unet", "wavenet"])
def test_every_kernel_has_a_group(name, plain_model):
    model = plain_model(name)
    groups = kernel_groups(model)
    kernels = [v.path for v in model.trainable_variables if v.path.endswith("kernel")]
    assert set(kernels) <= set(groups)
    # In the decoder, attention reads the embeddings directly.
    assert ({"head"} if name == "gpt" else {"stem", "head"}) <= set(groups.values())
    if name == "vit":
        assert np.mean([group == "attention" for group in groups.values()]) > 0.3
