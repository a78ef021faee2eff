"""Test that a model gets the initializer and the learning rate as hyperparameters, and does not change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerHyperModel, InitializerTuner, Range, SearchSpace
from keras_initx.tuning.space.initializers import DEFAULT_INITIALIZERS, check_initializers
from keras_initx.tuning.space.ranges import check_numbers

from keras_initx import InitxError
from tests.support.users_hypermodels import NAMES, RATES, L, UsersHyperModel, chosen, of_hp, wide

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def space(model: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    hp = keras_tuner.HyperParameters()
    InitializerHyperModel(model, SearchSpace(*args, **kwargs)).build(hp)
    assert len({p.name for p in hp.space}) == len(hp.space)
    return {p.name: p for p in hp.space}


class TestSpace:
    @pytest.mark.parametrize(
        ("model", "own"),
        [(wide, []), (lambda: wide(), []), (of_hp, ["units"]), (UsersHyperModel(), ["units"])],
        ids=["arguments with defaults", "no argument", "hp", "HyperModel"],
    )
    def test_initializer_and_rate_are_added(self, model: Any, own: list[str]) -> None:
        hyperparameters = space(model, NAMES, RATES)
        assert list(hyperparameters) == [*own, "initializer", "learning_rate"]
        assert hyperparameters["initializer"].values == NAMES
        assert hyperparameters["learning_rate"].values == RATES

    def test_a_built_model(self) -> None:
        assert list(space(wide(), NAMES, RATES)) == ["initializer", "learning_rate"]

    def test_a_range_of_rates(self) -> None:
        rate = space(wide, NAMES, Range(1e-4, 1e-1))["learning_rate"]
        assert (rate.min_value, rate.max_value, rate.sampling) == (1e-4, 1e-1, "log")

    def test_none_keeps_the_models_rate(self) -> None:
        model = wide(optimizer=keras.optimizers.SGD(0.125))
        assert list(space(model, NAMES, None)) == ["initializer"]
        built = InitializerHyperModel(model, SearchSpace(NAMES, None)).build(chosen(initializer="he_normal"))
        assert float(built.optimizer.learning_rate) == 0.125

    def test_the_users_own_hyperparameters_win(self) -> None:
        def build(hp: Any) -> keras.Model:
            name = hp.Choice("initializer", ["zeros", "ones"])
            model = keras.Sequential([keras.Input((4,)), L.Dense(3, kernel_initializer=name)])
            model.compile(keras.optimizers.SGD(hp.Choice("learning_rate", [0.5, 0.25])), "mse")
            return model

        hyperparameters = space(build)
        assert hyperparameters["initializer"].values == ["zeros", "ones"]
        assert hyperparameters["learning_rate"].values == [0.5, 0.25]
        model = InitializerHyperModel(build).build(chosen(initializer="ones", learning_rate=0.25))
        assert np.all(model.get_weights()[0] == 1)
        assert float(model.optimizer.learning_rate) == 0.25
        for argument, values in (("initializers", NAMES), ("learning_rates", RATES)):
            with pytest.raises(InitxError, match=rf"^`{argument}` has no effect: the model declares"):
                space(build, **{argument: values})

    def test_one_hyperparameter_of_the_user_stays(self) -> None:
        def build(hp: Any) -> keras.Model:
            return wide(optimizer=keras.optimizers.SGD(hp.Float("learning_rate", 0.5, 0.75)))

        hyperparameters = space(build, NAMES)
        assert list(hyperparameters) == ["learning_rate", "initializer"]
        assert hyperparameters["learning_rate"].max_value == 0.75


class TestBuild:
    @pytest.mark.parametrize("model", [wide, of_hp, UsersHyperModel(), "built"])
    def test_kernels_and_rate_follow_the_choice(self, model: Any, assert_std: Callable[..., None]) -> None:
        hypermodel = InitializerHyperModel(
            wide() if model == "built" else model, SearchSpace(["he_normal", "auto"], RATES)
        )
        for name, std, rate in [("he_normal", 1 / 150, 0.02), ("auto", 1 / 150, 0.01)]:
            built = hypermodel.build(chosen(initializer=name, learning_rate=rate))
            assert_std(built.layers[1].kernel, np.sqrt(std))
            assert float(built.optimizer.learning_rate) == pytest.approx(rate)
        built = hypermodel.build(chosen(initializer="auto"))
        # The head is linear: the variance is 1 / fan_in there, and not 2 / fan_in.
        assert np.sqrt(np.mean(built.layers[2].get_weights()[0] ** 2)) == pytest.approx(0.05, rel=0.1)

    def test_random_uniform(self) -> None:
        built = InitializerHyperModel(wide, SearchSpace(NAMES, RATES)).build(
            chosen(initializer="random_uniform")
        )
        kernel = built.layers[1].get_weights()[0]
        assert 0.0499 < np.abs(kernel).max() <= 0.05

    def test_the_users_model_does_not_change(self) -> None:
        model = wide(optimizer=keras.optimizers.Adam(0.125))
        model.fit(np.ones((4, 300)), np.ones((4, 3)), verbose=0)
        weights = [w.copy() for w in model.get_weights()]
        state = [np.array(keras.ops.convert_to_numpy(v)) for v in model.optimizer.variables]
        config = model.get_config()
        hypermodel = InitializerHyperModel(model, SearchSpace(NAMES, RATES))
        for name in NAMES:
            built = hypermodel.build(chosen(initializer=name, learning_rate=0.02))
            built.fit(np.ones((4, 300)), np.ones((4, 3)), verbose=0)
            assert built is not model
            assert not set(map(id, built.layers)) & set(map(id, model.layers))
        for one, two in zip(weights, model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, two)
        for one, two in zip(state, model.optimizer.variables, strict=True):
            np.testing.assert_array_equal(one, keras.ops.convert_to_numpy(two))
        assert float(model.optimizer.learning_rate) == 0.125
        assert model.get_config() == config

    def test_other_weights_are_kept(self) -> None:
        x = np.random.default_rng(0).normal(3, 2, size=(500, 300)).astype("float32")
        inputs = keras.Input((300,))
        standardize = L.Normalization()
        standardize.adapt(x)
        hidden = L.BatchNormalization()(L.Dense(8, bias_initializer="ones")(standardize(inputs)))
        model = keras.Model(inputs, L.Dense(2)(hidden))
        model.compile("sgd", "mse")
        model.fit(x, np.ones((500, 2)), verbose=0)
        built = InitializerHyperModel(model, SearchSpace(NAMES, RATES)).build(chosen(initializer="he_normal"))
        kernels = {id(layer.kernel) for layer in built.layers if hasattr(layer, "kernel")}
        for kept, own in zip(built.variables, model.variables, strict=True):
            same = np.array_equal(keras.ops.convert_to_numpy(kept), keras.ops.convert_to_numpy(own))
            assert same is (id(kept) not in kernels), kept.path
        normalized = keras.ops.convert_to_numpy(built.layers[1](x))
        np.testing.assert_allclose(normalized, keras.ops.convert_to_numpy(standardize(x)), rtol=1e-6)
        assert abs(normalized.mean()) < 1e-3

    def test_an_unbuilt_model_is_built_on_the_inputs(self) -> None:
        hypermodel = InitializerHyperModel(unbuilt(), SearchSpace(NAMES, RATES))
        hypermodel.inputs = np.ones((2, 5), "float32")
        built = hypermodel.build(chosen(initializer="he_normal"))
        assert built.layers[0].kernel.shape == (5, 3)

    def test_the_default_initializers_are_known(self) -> None:
        assert check_initializers(DEFAULT_INITIALIZERS) == DEFAULT_INITIALIZERS


class NoConfig(keras.Model):
    def __init__(self, dense: Any) -> None:
        super().__init__()
        self.dense = dense

    def call(self, inputs: Any) -> Any:
        return self.dense(inputs)


def subclassed() -> keras.Model:
    model = NoConfig(L.Dense(3))
    model(np.ones((1, 4), "float32"))
    model.compile("sgd", "mse")
    return model


class Gan(keras.Model):
    """Two networks, and only a training step for them."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = keras.Sequential([keras.Input((4,)), L.Dense(3)])
        self.dec = keras.Sequential([keras.Input((3,)), L.Dense(4)])

    def train_step(self, data: Any) -> dict[str, Any]:
        return {"loss": keras.ops.mean(self.dec(self.enc(data[0])))}


class AutoEncoder(Gan):
    def call(self, inputs: Any) -> Any:
        return self.dec(self.enc(inputs))

    train_step = keras.Model.train_step


def of_parts(with_call: bool) -> keras.Model:
    model = AutoEncoder() if with_call else Gan()
    model.compile("sgd", "mse")
    return model


def unbuilt() -> keras.Model:
    model = keras.Sequential([L.Dense(3)])
    model.compile("sgd", "mse")
    return model


def a_loss(y: Any, p: Any) -> Any:
    return keras.ops.mean(keras.ops.square(y - p))


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)


class TestErrors:
    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (lambda: keras.Sequential([keras.Input((4,)), L.Dense(3)]), "is not compiled. Pass a compiled"),
            (subclassed, "Pass a function that builds"),
            (lambda: wide(loss=a_loss), "Pass a function that builds"),
            (lambda: wide(optimizer=keras.optimizers.SGD(SCHEDULE)), "learning_rates=None"),
            (lambda: 3, "a Keras model, a function that returns one, or a HyperModel"),
        ],
        ids=["uncompiled", "subclassed", "custom loss", "schedule", "number"],
    )
    def test_bad_model(self, model: Any, message: str) -> None:
        with pytest.raises(InitxError, match=message):
            InitializerHyperModel(model(), SearchSpace(NAMES, RATES)).build(keras_tuner.HyperParameters())

    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: None, "a function that returns a Keras model"),
            (lambda hp: "model", "a function that returns a Keras model"),
            (
                lambda: keras.Sequential([keras.Input((4,)), L.Dense(3)]),
                r"is not compiled\. Call model.compile\(...\) in the function",
            ),
            (lambda: wide(optimizer=keras.optimizers.SGD(SCHEDULE)), "learning_rates=None"),
        ],
        ids=["none", "string", "uncompiled", "schedule"],
    )
    def test_bad_function(self, build: Any, message: str) -> None:
        with pytest.raises(InitxError, match=message):
            InitializerHyperModel(build, SearchSpace(NAMES, RATES)).build(keras_tuner.HyperParameters())

    @pytest.mark.parametrize("argument", ["learning_rates", "weight_decays"])
    def test_an_argument_for_one_optimizer_needs_one(self, argument: str) -> None:
        def build() -> keras.Model:
            model = wide()
            model.second_optimizer = keras.optimizers.Adam()
            return model

        with pytest.raises(InitxError, match=rf"^`{argument}` cannot be applied.*2 optimizers"):
            space(build, **{argument: RATES})

    def test_a_schedule_may_be_kept(self) -> None:
        model = wide(optimizer=keras.optimizers.SGD(SCHEDULE))
        built = InitializerHyperModel(model, SearchSpace(NAMES, None)).build(keras_tuner.HyperParameters())
        assert isinstance(built.optimizer._learning_rate, keras.optimizers.schedules.ExponentialDecay)

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["he_norml"], "Did you mean 'he_normal'"),
            ("he_atuo", "Did you mean 'he_auto'"),
            (["he_normal", "he_normal"], "one or more different names"),
            ([], "one or more different names"),
            (["identity"], "^`initializers` 'identity' is not known"),
        ],
    )
    def test_bad_initializers(self, names: Any, message: str) -> None:
        with pytest.raises(InitxError, match=message):
            InitializerHyperModel(wide, SearchSpace(names))

    @pytest.mark.parametrize(
        ("rates", "message"),
        [
            ([], "positive numbers"),
            ([0.1, 0.0], "positive numbers"),
            ([-0.1], "positive numbers"),
            ([float("nan")], "positive numbers"),
            ([float("inf")], "positive numbers"),
            (["0.1"], "positive numbers"),
            ([0.1, 0.1], "different numbers"),
            (Range(0.1, 0.1), "low is below its high"),
            (Range(0.2, 0.1), "low is below its high"),
            (Range(0.0, 0.1), "positive numbers"),
            (Range(0.1, float("inf")), "positive numbers"),
        ],
    )
    def test_bad_rates(self, rates: Any, message: str) -> None:
        with pytest.raises(InitxError, match=rf"^`learning_rates` must be .*{message}"):
            InitializerHyperModel(wide, SearchSpace(NAMES, rates))

    def test_numpy_rates_are_numbers(self) -> None:
        assert check_numbers(np.array([0.1, 0.2])) is not None
        assert space(wide, NAMES, np.array([0.25, 0.5], "float32"))["learning_rate"].values == [0.25, 0.5]


class TestUnbuilt:
    """A model whose first batch builds it."""

    def test_hyperparameters_are_declared_before_the_data_are_known(self) -> None:
        assert list(space(unbuilt, NAMES, RATES)) == ["initializer", "learning_rate"]

    def test_kernels_are_drawn_once_the_inputs_are_known(self) -> None:
        hypermodel = InitializerHyperModel(unbuilt, SearchSpace(["ones"]))
        hypermodel.inputs = np.zeros((2, 5), "float32")
        kernels = [v for v in hypermodel.build(chosen(initializer="ones")).variables if v.name == "kernel"]
        assert kernels
        assert all(np.all(keras.ops.convert_to_numpy(kernel) == 1) for kernel in kernels)

    @pytest.mark.parametrize("with_call", [True, False])
    def test_a_model_of_built_parts_waits_for_the_data(self, tmp_path: Path, with_call: bool) -> None:
        if not with_call and keras.backend.backend() != "tensorflow":
            pytest.skip("the training step is TensorFlow's")
        x = np.ones((8, 4), "float32")
        tuner = InitializerTuner(
            lambda: of_parts(with_call),
            keras_tuner.Objective("loss", "min"),
            1,
            space=SearchSpace(["ones"], [0.0625]),
            executions_per_trial=1,
            screening=False,
            jit_compile=False,
            directory=str(tmp_path),
        )
        drawn = []
        build = tuner.hypermodel.build

        def recorded(hp: Any) -> keras.Model:
            model = build(hp)
            drawn.append([np.asarray(model.enc.get_weights()[0]), np.asarray(model.dec.get_weights()[0])])
            return model

        tuner.hypermodel.build = recorded
        tuner.search(x, x, verbose=0)
        assert all(np.all(kernel == 1) for kernel in drawn[0])
        (model,) = tuner.get_best_models()
        assert float(model.optimizer.learning_rate) == 0.0625

    @pytest.mark.parametrize(
        ("build", "units"), [(lambda: of_parts(True), 4), (unbuilt, 3)], ids=["built parts", "unbuilt"]
    )
    def test_keras_tuner_draws_on_the_first_batch(self, tmp_path: Path, build: Any, units: int) -> None:
        class Recording(InitializerHyperModel):
            def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
                drawn = super().fit(hp, model, *args, **kwargs)
                kernels.extend(np.asarray(v) for v in model.variables if v.name == "kernel")
                return drawn

        kernels: list[np.ndarray] = []
        x = np.ones((8, 4), "float32")

        def with_an_idle_hyperparameter(hp: Any) -> keras.Model:
            hp.Boolean("idle")
            return build()

        hypermodel = Recording(with_an_idle_hyperparameter, SearchSpace(["ones"], [2.0**-40]))
        goal = keras_tuner.Objective("loss", "min")
        tuner = keras_tuner.RandomSearch(hypermodel, goal, 1, directory=str(tmp_path))
        tuner.oracle.verbose = 0
        tuner.search(x, x[:, :units], verbose=0)
        assert kernels
        assert all(np.allclose(kernel, 1) for kernel in kernels)
        assert hypermodel.inputs is None

    def test_a_method_that_needs_the_whole_model_waits_for_fit(self) -> None:
        space, hp = SearchSpace(["initialize:orthogonal"], [2.0**-40]), chosen()
        hypermodel = InitializerHyperModel(lambda: of_parts(True), space)
        model = hypermodel.build(hp)
        hypermodel.fit(hp, model, np.ones((8, 4), "float32"), np.ones((8, 4), "float32"), verbose=0)
        kernel = np.asarray(model.enc.get_weights()[0])
        gram = kernel.T @ kernel
        np.testing.assert_allclose(gram / gram[0, 0], np.eye(3), atol=1e-4)


class TestOwnFit:
    class Loop(UsersHyperModel):
        def declare_hyperparameters(self, hp: Any) -> None:
            hp.Int("early", 1, 3)

        def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> float:
            return float(hp.get("early") + len(args) + kwargs["more"])

    def test_it_is_called_with_the_hyperparameters(self) -> None:
        hypermodel = InitializerHyperModel(self.Loop())
        assert hypermodel.has_own_fit
        assert hypermodel.fit(chosen(early=2), wide(), 0, 0, more=10) == 14.0
        assert not InitializerHyperModel(UsersHyperModel()).has_own_fit

    def test_what_it_declares_is_in_the_space(self) -> None:
        hp = keras_tuner.HyperParameters()
        InitializerHyperModel(self.Loop()).declare_hyperparameters(hp)
        assert [p.name for p in hp.space] == ["early"]


def test_attribute_error_of_the_user_is_kept() -> None:
    user = UsersHyperModel()
    user.build = lambda hp: keras.nothing  # type: ignore[method-assign]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        InitializerHyperModel(user).with_space(keras_tuner.HyperParameters())
