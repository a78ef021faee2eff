"""Check which loss judges which output, and what it makes of logits."""

import functools

import keras
import pytest

from keras_initx._graph.inputs.losses import link_of_loss, output_losses

pytestmark = pytest.mark.check

LINKS = {"Binary": "sigmoid", "Categorical": "softmax", "SparseCategorical": "softmax"}


@pytest.mark.parametrize("name", [n for n in dir(keras.losses) if n[0].isupper() and n != "Loss"])
def test_every_loss_of_keras_in_every_form(name):
    cls = getattr(keras.losses, name)
    # Keras names the generalized one with a capital E.
    prefix, is_crossentropy, _ = (
        name.replace("Focal", "").replace("Generalized", "").lower().partition("crossentropy")
    )
    expected = {k.lower(): v for k, v in LINKS.items()}.get(prefix) if is_crossentropy else None
    own = type("Own", (cls,), {})
    for form in (cls, cls(), own()):
        assert link_of_loss(form) == expected
    function = getattr(cls(), "fn", None)
    if function is not None:
        for form in (function, functools.partial(function)):
            assert link_of_loss(form) == expected


@pytest.mark.parametrize("prefix", ["binary", "binary_focal", "categorical", "sparse_categorical"])
def test_names_of_losses(prefix):
    function = f"{prefix}_crossentropy"
    expected = "sigmoid" if prefix.startswith("binary") else "softmax"
    assert link_of_loss(function) == expected
    assert link_of_loss(function.title().replace("_", "")) == expected


def test_a_loss_of_ones_own_is_unknown():
    assert link_of_loss(lambda y, z: z) is None
    assert link_of_loss(None) is None
    assert link_of_loss("no loss of Keras") is None
    assert link_of_loss("bce") == "sigmoid"


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ("mse", ["mse", "mse"]),
        (["mse", "mae"], ["mse", "mae"]),
        (("mse", None), ["mse", None]),
        # The outputs are b and a, in this order.
        ({"a": "mae", "b": "mse"}, ["mse", "mae"]),
        ({"a": "mae", "c": "mse"}, []),
        (None, [None, None]),
        (["mse", "mae", "mse"], []),
    ],
)
def test_the_losses_are_in_the_order_of_the_outputs(losses, expected):
    x = keras.Input((2,))
    model = keras.Model(x, [keras.layers.Dense(1, name=name)(x) for name in "ba"])
    model.compile(loss=losses)
    assert output_losses(model, model.outputs) == expected
    assert output_losses(model, model.outputs, "mae") == ["mae", "mae"]


def test_outputs_with_names_of_their_own():
    x = keras.Input((2,))
    model = keras.Model(x, {name: keras.layers.Dense(1)(x) for name in "ba"})
    model.compile(loss={"b": "mse", "a": "mae"})
    # Dictionaries are flattened by name.
    assert output_losses(model, {"b": x, "a": x}) == ["mae", "mse"]
    single = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="head")])
    single.compile(loss={"head": "mse"})
    assert output_losses(single, single.outputs) == ["mse"]
