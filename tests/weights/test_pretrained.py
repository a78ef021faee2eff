import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError, initialize
from tests.support.networks import plain
from tests.support.recorder import pre_activations, same, values

pytestmark = pytest.mark.check


def model(classes=4, extra=False):
    x = keras.Input((12,))
    h = layers.BatchNormalization(name="norm")(layers.Dense(32, activation="relu", name="body")(x))
    if extra:
        h = layers.Dense(32, activation="relu", name="new")(h)
    return keras.Model(x, layers.Dense(classes, name="head")(h))


@pytest.fixture
def trained():
    source = model()
    for number, variable in enumerate(source.variables):
        if "float" in str(variable.dtype):
            variable.assign(keras.random.normal(variable.shape, stddev=0.4, seed=number) + 0.1)
    source.get_layer("norm").moving_variance.assign(np.full(32, 2.0))
    return source


@pytest.fixture(params=["model", "keras", "weights"])
def source(request, trained, tmp_path):
    if request.param == "model":
        return trained
    path = tmp_path / ("m.keras" if request.param == "keras" else "m.weights.h5")
    trained.save(path) if request.param == "keras" else trained.save_weights(path)
    return path


def test_what_matches_is_copied_and_the_rest_fits(source, trained):
    other = model(classes=7)
    plan = initialize(other, pretrained=source, seed=0)
    for name in ("body", "norm"):
        for mine, theirs in zip(other.get_layer(name).weights, trained.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(mine), ops.convert_to_numpy(theirs))
    methods = {row.path: row.method for row in plan.rows}
    assert methods == {"body/kernel": "pretrained", "head/kernel": "variance"}
    assert any("copied" in note for note in plan.notes)
    assert any("head/kernel" in note for note in plan.notes)
    x = np.random.default_rng(0).normal(size=(2000, 12)).astype("float32")
    assert pre_activations(other, x, training=True)["head"] == pytest.approx(1, abs=0.25)


def test_different_shapes_are_noted(trained):
    notes = initialize(model(classes=7), pretrained=trained, seed=0).notes
    assert any("head/kernel has another shape: (32, 4) there, (32, 7) here" in note for note in notes)


def test_a_layer_that_the_source_lacks(trained):
    other = model(extra=True)
    plan = initialize(other, pretrained=trained, seed=0)
    assert any("new/kernel is not in the source" in note for note in plan.notes)
    assert {r.path: r.method for r in plan.rows}["head/kernel"] == "pretrained"


def test_weights_that_the_model_lacks_are_noted(trained):
    x = keras.Input((12,))
    small = keras.Model(x, layers.Dense(32, activation="relu", name="body")(x))
    notes = initialize(small, pretrained=trained, seed=0).notes
    assert any("head/kernel is not in this model" in note for note in notes)


@pytest.mark.parametrize("kind", ["model", "text", "suffix"])
def test_nothing_matches(kind, tmp_path):
    if kind == "model":
        source = keras.Sequential([keras.Input((2,)), layers.Dense(2, name="other")])
        text = (
            r"^`pretrained` .* matches no weight of the model by path and shape\. It has other/bias, .*; "
            r"the model has .*\. Give the layers the same names in both\.$"
        )
    else:
        source = tmp_path / ("bad.keras" if kind == "text" else "bad.txt")
        source.write_text("no")
        text = (
            "bad.keras' cannot be loaded by Keras"
            if kind == "text"
            else "must be a .keras or .weights.h5 file, got"
        )
    target = model()
    before = values(target)
    with pytest.raises(InitxError, match=text):
        initialize(target, pretrained=source)
    assert same(before, target)


def test_a_sequential_source_for_a_functional_model():
    trunk = [layers.Dense(8, activation="relu", name="one"), layers.Dense(8, activation="relu", name="two")]
    source = keras.Sequential([keras.Input((12,)), *trunk])
    x = inputs = keras.Input((12,))
    for layer in trunk:
        x = type(layer).from_config(layer.get_config())(x)
    other = keras.Model(inputs, layers.Dense(3, name="head")(x))
    plan = initialize(other, pretrained=source, seed=0)
    methods = {row.path: row.method for row in plan.rows}
    assert methods == {"one/kernel": "pretrained", "two/kernel": "pretrained", "head/kernel": "variance"}
    kernel = other.get_layer("two").kernel
    np.testing.assert_array_equal(ops.convert_to_numpy(kernel), ops.convert_to_numpy(trunk[1].kernel))


def test_the_same_model_with_other_names():
    source, model = plain(3), plain(3)
    plan = initialize(model, pretrained=source)
    assert "3 pretrained" in plan.summary()
    assert any("by their order" in note for note in plan.notes)
    for mine, theirs in zip(model.weights, source.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(mine), ops.convert_to_numpy(theirs))


def test_skip_protects_from_pretrained_too():
    source, model = plain(3), plain(3)
    kernel = ops.convert_to_numpy(model.layers[0].kernel).copy()
    initialize(model, pretrained=source, skip=model.layers[0].name)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.layers[0].kernel), kernel)
