"""The parts of a model that the user's own hyperparameters set stay theirs."""

import functools
import random
import warnings
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerHyperModel, InitializerTuner, SearchSpace

from keras_initx import InitxError
from tests.support.users_hypermodels import L

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def two_layers(hp: Any) -> keras.Model:
    """Return a model whose hyperparameters set one of two kernels, the units and the learning rate."""
    own = hp.Choice("kernel_init", ["zeros", "ones"])
    hidden = L.Dense(hp.Int("units", 4, 8, step=4), "tanh", kernel_initializer=own, name="first")
    model = keras.Sequential([keras.Input((4,)), hidden, L.Dense(1, name="last")])
    model.compile(keras.optimizers.Adam(hp.Choice("lr", [1e-5, 2e-5])), "mse")
    return model


def one_layer(hp: Any) -> keras.Model:
    initializer = hp.Choice("kernel_init", ["zeros", "ones"])
    model = keras.Sequential([keras.Input((4,)), L.Dense(1, kernel_initializer=initializer)])
    model.compile("sgd", "mse")
    return model


def built(model: Any, space: SearchSpace | None = None, **values: Any) -> tuple[keras.Model, Any]:
    return built_again(InitializerHyperModel(model, space), **values)


def built_again(hypermodel: InitializerHyperModel, **values: Any) -> tuple[keras.Model, Any]:
    hp = keras_tuner.HyperParameters()
    hp.values = values
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hypermodel.build(hp), hp


def test_a_kernel_keeps_the_initializer_that_the_user_searches() -> None:
    space = SearchSpace(["ones", "he_normal"])
    for own, expected in (("zeros", 0), ("ones", 1)):
        model, hp = built(two_layers, space, kernel_init=own, initializer="ones")
        assert np.all(model.layers[0].get_weights()[0] == expected)
        assert np.all(model.layers[1].get_weights()[0] == 1)
        assert "initializer" in hp.values


def scaled(shape: Any, dtype: Any = None, scale: float = 1.0) -> Any:
    return scale * keras.ops.ones(shape, dtype)


@pytest.mark.parametrize("kind", ["closure", "default", "partial"])
def test_a_kernel_keeps_a_function_that_the_user_scales(kind: str) -> None:
    def model_of(hp: Any) -> keras.Model:
        scale = hp.Choice("scale", [2.0, 3.0])
        functions = {
            "closure": lambda shape, dtype=None: scaled(shape, dtype, scale),
            "default": lambda shape, dtype=None, scale=scale: scaled(shape, dtype, scale),
            "partial": functools.partial(scaled, scale=scale),
        }
        model = keras.Sequential([keras.Input((4,)), L.Dense(2, kernel_initializer=functions[kind])])
        model.compile("sgd", "mse")
        return model

    for scale in (2.0, 3.0):
        model, hp = built(model_of, scale=scale)
        assert np.all(model.get_weights()[0] == scale)
        assert "initializer" not in hp.values


def test_one_warning_names_the_kernel_and_the_hyperparameter() -> None:
    hypermodel = InitializerHyperModel(two_layers)
    with pytest.warns(UserWarning, match=r"first/kernel: .* 'kernel_init' sets the initializer"):
        hypermodel.build(keras_tuner.HyperParameters())
    hypermodel.build(keras_tuner.HyperParameters())


def test_a_search_of_the_users_script_trains_what_it_records(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'kernel_init'"):
        tuner = InitializerTuner(one_layer, "val_loss", 2, executions_per_trial=1, directory=str(tmp_path))
    assert [p.name for p in tuner.oracle.get_space().space] == ["kernel_init"]
    for own, expected in (("zeros", 0), ("ones", 1)):
        hp = keras_tuner.HyperParameters()
        hp.values = {"kernel_init": own}
        assert np.all(tuner.hypermodel.build(hp).get_weights()[0] == expected)


@pytest.mark.parametrize(
    ("model", "field", "owner"),
    [
        (two_layers, {"learning_rates": [0.1]}, "lr"),
        (two_layers, {"initializers": {"first": ["auto"]}}, "kernel_init"),
        (one_layer, {"initializers": ["auto", "own"]}, "kernel_init"),
        (one_layer, {"initializers": {"head": ["auto"]}}, "kernel_init"),
    ],
    ids=["rate", "pattern", "all kernels", "group"],
)
def test_a_field_that_would_overrule_the_user_is_an_error(model: Any, field: Any, owner: str) -> None:
    (argument,) = field
    with pytest.raises(
        InitxError, match=rf"^`{argument}`.* would overrule the model's hyperparameter '{owner}'"
    ):
        built(model, SearchSpace(**field))


def test_an_optimizer_that_the_user_searches() -> None:
    def build(hp: Any) -> keras.Model:
        model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
        model.compile(hp.Choice("opt", ["sgd", "adam"]), "mse")
        return model

    # Their default rates differ, but no hyperparameter sets them.
    model, _ = built(build, SearchSpace(["auto"], learning_rates=[0.125]), opt="adam")
    assert float(model.optimizer.learning_rate) == 0.125
    with pytest.raises(InitxError, match=r"^`optimizers` would overrule the model's hyperparameter 'opt'"):
        built(build, SearchSpace(["auto"], optimizers=["adam"]))


def test_a_hyperparameter_with_another_effect_keeps_it() -> None:
    def build(hp: Any) -> keras.Model:
        units = hp.Int("units", 4, 8, step=4)
        normal = keras.initializers.RandomNormal(stddev=1 / units)
        model = keras.Sequential([keras.Input((4,)), L.Dense(units, kernel_initializer=normal), L.Dense(1)])
        model.compile("sgd", "mse")
        return model

    model, _ = built(build, SearchSpace(["ones"]), units=8)
    assert np.all(model.layers[0].get_weights()[0] == 1)
    assert model.layers[0].units == 8


class TestAnotherEffect:
    """A hyperparameter that is not void without its initializer leaves the kernels to the search."""

    @pytest.mark.parametrize("kind", ["operation", "attribute", "loss"])
    def test_on(self, kind: str) -> None:
        class Net(keras.Model):
            def __init__(self, activation: str, initializer: str) -> None:
                super().__init__()
                self.activation = keras.activations.get(activation)
                self.dense = L.Dense(2, kernel_initializer=initializer)

            def call(self, x: Any) -> Any:
                return self.activation(self.dense(x))

        def build(hp: Any) -> keras.Model:
            name = hp.Choice("name", ["tanh", "relu"])
            initializer = {"tanh": "glorot_uniform", "relu": "zeros"}[name]
            x = keras.Input((4,))
            if kind == "attribute":
                model: keras.Model = Net(name, initializer)
                model(np.zeros((1, 4), "float32"))
            else:
                outputs = L.Dense(2, kernel_initializer=initializer)(x)
                activation = keras.activations.get(name if kind == "operation" else "linear")
                model = keras.Model(x, activation(outputs))
            model.compile("sgd", "mse" if kind != "loss" or name == "tanh" else "mae")
            return model

        model, hp = built(build, SearchSpace(["ones"]))
        assert np.all(model.get_weights()[0] == 1)
        assert hp.values == {"name": "tanh", "initializer": "ones"}

    def test_in_the_fit_of_a_hypermodel(self) -> None:
        class User(keras_tuner.HyperModel):
            def build(self, hp: Any) -> keras.Model:
                rate = hp.Choice("rate", [0.25, 0.5]) if self.is_rate else hp.Choice("batch", [32, 64]) / 32
                model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
                model.compile(keras.optimizers.SGD(rate), "mse")
                return model

            def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
                raise NotImplementedError

        user, space = User(), SearchSpace(["auto"], learning_rates=[0.125])
        user.is_rate = False
        assert float(built(user, space)[0].optimizer.learning_rate) == 0.125
        user.is_rate = True
        with pytest.raises(InitxError, match=r"^`learning_rates` would overrule .* 'rate'"):
            built(user, space)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_kernel_of_a_recurrent_cell(bidirectional: bool) -> None:
    def build(hp: Any) -> keras.Model:
        cell = L.LSTM(3, kernel_initializer=hp.Choice("init", ["zeros", "ones"]))
        layer = L.Bidirectional(cell) if bidirectional else cell
        model = keras.Sequential([keras.Input((5, 4)), layer, L.Dense(1)])
        model.compile("sgd", "mse")
        return model

    for initializer in ("ones", "initialize:auto"):
        model, _ = built(build, SearchSpace([initializer]), init="ones")
        kernels = [w for w in model.weights if w.path.endswith("cell/kernel")]
        assert len(kernels) == 1 + bidirectional
        assert all(np.all(keras.ops.convert_to_numpy(w) == 1) for w in kernels)


def test_an_initializer_that_may_be_none() -> None:
    def build(hp: Any) -> keras.Model:
        own = "zeros" if hp.Boolean("zero", default=True) else None
        model = keras.Sequential([keras.Input((4,)), L.Dense(2, kernel_initializer=own), L.Dense(1)])
        model.compile("sgd", "mse")
        return model

    model, _ = built(build, SearchSpace(["ones"]), zero=True)
    assert [float(np.mean(layer.get_weights()[0])) for layer in model.layers] == [0, 1]


def test_the_order_of_trials_decides_nothing() -> None:
    def build(hp: Any) -> keras.Model:
        own, rate = hp.Choice("init", ["zeros", "ones"]), hp.Choice("rate", [0.5, 0.25])
        is_own = hp.Choice("kind", ["plain", "own"]) == "own"
        initializer = own if is_own else "glorot_uniform"
        model = keras.Sequential([keras.Input((4,)), L.Dense(2, kernel_initializer=initializer), L.Dense(1)])
        model.compile(keras.optimizers.SGD(rate) if is_own else "adam", "mse")
        return model

    hypermodel = InitializerHyperModel(build, SearchSpace(["he_normal"]))
    for kind in ("plain", "own", "plain"):
        first = built_again(hypermodel, kind=kind, init="ones", rate=0.5)[0].layers[0].get_weights()[0]
        assert np.all(first == 1) == (kind == "own")
    hypermodel = InitializerHyperModel(build, SearchSpace(["he_normal"], learning_rates=[0.125]))
    built_again(hypermodel, kind="plain")
    with pytest.raises(InitxError, match=r"^`learning_rates` would overrule .* 'rate'"):
        built_again(hypermodel, kind="own")


@pytest.mark.parametrize(("choices", "builds"), [(0, 2), (3, 5), (30, 22)])
def test_the_number_of_builds(choices: int, builds: int) -> None:
    made = []

    def build(hp: Any) -> keras.Model:
        made.append(hp)
        for number in range(6):
            hp.Float(f"number_{number}", 0, 1)
        for number in range(choices):
            hp.Boolean(f"choice_{number}")
        model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
        model.compile("sgd", "mse")
        return model

    hypermodel = InitializerHyperModel(build, SearchSpace(["auto"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hypermodel.build(keras_tuner.HyperParameters())
        # The same choices need no more builds, whatever the numbers.
        hp = keras_tuner.HyperParameters()
        hp.values = {"number_0": 0.5}
        hypermodel.build(hp)
    assert len(made) == builds + 1
    texts = [str(w.message) for w in caught if w.category is UserWarning]
    assert len(texts) == (choices > 20)
    assert all(text.startswith("Only the first 20 of the model's 30 hyperparameters") for text in texts)


def test_kernels_of_a_deeper_model() -> None:
    def build(hp: Any) -> keras.Model:
        own = hp.Choice("init", ["zeros", "ones"])
        depth = hp.Int("layers", 1, 3)
        hidden = [L.Dense(4, "tanh", kernel_initializer=own) for _ in range(depth)]
        model = keras.Sequential([keras.Input((4,)), *hidden, L.Dense(1)])
        model.compile("sgd", "mse")
        return model

    hypermodel = InitializerHyperModel(build, SearchSpace(["he_normal", "ones"]))
    for depth in (1, 3):
        model, _ = built_again(hypermodel, init="zeros", layers=depth, initializer="ones")
        assert [float(np.mean(layer.get_weights()[0])) for layer in model.layers] == [*[0] * depth, 1]


def test_the_builds_change_no_random_state() -> None:
    def build(hp: Any) -> keras.Model:
        hp.Int("unused", 1, 3)
        np.random.rand(hp.Int("drawn", 1, 3))  # noqa: NPY002
        model = keras.Sequential([keras.Input((4,)), L.Dense(1)])
        model.compile("sgd", "mse")
        return model

    # A second build of the same hypermodel makes no others.
    hypermodel, after = InitializerHyperModel(build, SearchSpace(["auto"])), []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        hypermodel.build(keras_tuner.HyperParameters())
        after.append((random.random(), np.random.rand()))  # noqa: NPY002
    assert after[0] == after[1]
