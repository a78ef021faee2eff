"""Test the default model of the command line and its activations."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import DenseNetwork, InitializerHyperModel, from_arrays, load_table
from keras_initx.tuning.space.dense_network import check_activations

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

L = keras.layers


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["rleu"], "Did you mean 'relu'"),
        (["relu", "relu"], "different names"),
        (["glu"], "^`activations` 'glu' is not known"),
        (["get"], "^`activations` 'get' is not known"),
    ],
)
def test_bad_activations(names: Any, message: str) -> None:
    with pytest.raises(InitxError, match=message):
        check_activations(names)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 10**30}, r"^`width` must be small enough .*, got 10{30}\."),
        ({"depth": 10**9}, "^`depth` must be small enough for fewer than 2147483648 weights, got 10{9}"),
        ({"width": True}, "^`width` must be an integer >= 1, got True"),
        ({"depth": 0}, "^`depth` must be an integer >= 1, got 0"),
    ],
)
def test_sizes_that_no_memory_holds(sizes: Any, message: str) -> None:
    data = from_arrays(np.zeros((60, 3)), np.arange(60) % 3)
    with pytest.raises(InitxError, match=message):
        DenseNetwork(data, **sizes)


def test_every_known_activation_can_be_used() -> None:
    with pytest.raises(InitxError) as caught:
        check_activations(["none at all"])
    names = caught.value.allowed.removeprefix("one of ").split(", ")
    assert {"relu", "gelu", "silu", "tanh"} <= set(names)
    for name in check_activations(names):
        assert L.Dense(4, activation=name)(np.ones((2, 3), "float32")).shape == (2, 4)


def test_declares_its_hyperparameters_and_standardizes() -> None:
    x = np.random.default_rng(0).normal(5, 3, size=(60, 2, 3)).astype("float32")
    data = from_arrays(x, np.arange(60) % 3)
    names, rates = ["he_normal", "random_uniform"], [0.01, 0.02]
    build = DenseNetwork(data, ["relu", "tanh"], names, rates, depth=2, width=5)
    hp = keras_tuner.HyperParameters()
    InitializerHyperModel(build).build(hp)
    assert [p.name for p in hp.space] == ["initializer", "activation", "learning_rate"]
    hp = keras_tuner.HyperParameters()
    hp.values = {"initializer": "random_uniform", "activation": "tanh", "learning_rate": 0.02}
    model = build(hp)
    assert model.output_shape == (None, 3)
    dense = [layer for layer in model.layers if isinstance(layer, L.Dense)]
    assert [d.units for d in dense] == [5, 5, 3]
    assert [d.activation.__name__ for d in dense] == ["tanh", "tanh", "softmax"]
    assert all(np.abs(d.get_weights()[0]).max() <= 0.05 for d in dense)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    standardized = keras.ops.convert_to_numpy(model.layers[1](model.layers[0](data.x_train)))
    np.testing.assert_allclose(standardized.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standardized.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"activations": ["rleu"]}, {"initializers": ["x"]}, {"learning_rates": [0]}]
)
def test_checks_its_arguments(options: dict[str, Any]) -> None:
    data = from_arrays(np.arange(40.0).reshape(20, 2), np.arange(20) % 2)
    with pytest.raises(InitxError):
        DenseNetwork(data, **options)


def test_a_regression_ends_in_the_scale_of_its_targets() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    data = from_arrays(x, 5e4 + 2e4 * x[:, 0], task="regression")
    hp = keras_tuner.HyperParameters()
    model = DenseNetwork(data, ["relu"], ["he_auto"], [0.01], depth=2, width=16)(hp)
    assert model.output_shape == (None, 1)
    model.fit(data.x_train, data.y_train, epochs=15, verbose=0)
    figures = model.evaluate(data.x_test, data.y_test, verbose=0, return_dict=True)
    # Both are the same error: in the units of the target, and as a share of its variance.
    assert figures["rmse"] < 0.3 * data.y_test.std()
    assert figures["loss"] == pytest.approx(figures["rmse"] ** 2 / data.y_train.var(), rel=1e-3)


def test_a_network_on_a_table_leaves_the_scaling_to_its_encoder(tmp_path: Any) -> None:
    rows = [f"{i + 5},{'xyz'[i % 3]},{i % 2}" for i in range(40)]
    (tmp_path / "a.csv").write_text("a,c,y\n" + "\n".join(rows))
    model = DenseNetwork(load_table(tmp_path / "a.csv", "y"))(keras_tuner.HyperParameters())
    assert not any(isinstance(layer, L.Normalization) for layer in model.layers)
