"""Initializers by group and by pattern, with their gain and distribution; what is not named stays."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerHyperModel, KernelSpace, Range

import keras_initx
from keras_initx import InitxError

L = keras.layers


def build() -> keras.Model:
    x = inputs = keras.Input((400,))
    for number in range(3):
        x = L.Dense(200, activation="tanh", name=f"d{number}")(x)
    model = keras.Model(inputs, L.Dense(50, name="out")(x))
    model.compile("adam", "mse")
    return model


def kernel(model: keras.Model, name: str) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model.get_layer(name).kernel), dtype="float64")


def space(hypermodel: InitializerHyperModel) -> dict[str, Any]:
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    return {p.name: p for p in hp.space}


def made(hypermodel: InitializerHyperModel, **values: Any) -> keras.Model:
    """The model that these values give."""
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    for name, value in values.items():
        hp.values[name.replace("__", ":")] = value
    keras.utils.set_random_seed(1)
    return hypermodel.build(hp)


class TestGroups:
    def test_each_group_has_its_own(self) -> None:
        groups = {"hidden": ["random_normal"], "head": ["ones", "auto"], "d0*": ["zeros"]}
        hypermodel = InitializerHyperModel(build, groups, None)
        assert set(space(hypermodel)) == {"initializer:hidden", "initializer:head", "initializer:d0*"}
        model = made(hypermodel)
        assert not kernel(model, "d0").any()
        for name in ("d1", "d2"):
            assert np.std(kernel(model, name)) == pytest.approx(0.05, rel=5 / np.sqrt(2 * 40_000))
        assert (kernel(model, "out") == 1).all()

    def test_what_is_in_no_group_stays(self) -> None:
        given = build()
        hypermodel = InitializerHyperModel(given, {"head": ["ones"]}, None)
        model = made(hypermodel)
        for name in ("d0", "d1", "d2"):
            np.testing.assert_array_equal(kernel(model, name), kernel(given, name))

    def test_the_last_decides(self) -> None:
        model = made(InitializerHyperModel(build, {"hidden": ["ones"], "d2": ["zeros"]}, None))
        assert kernel(model, "d1").all()
        assert not kernel(model, "d2").any()

    def test_a_users_own_is_left(self) -> None:
        def own(hp: Any) -> keras.Model:
            hp.Choice("initializer:head", ["a", "b"])
            return build()

        hypermodel = InitializerHyperModel(own, {"hidden": ["ones"], "head": ["zeros"]}, None)
        assert kernel(made(hypermodel), "out").any()

    @pytest.mark.parametrize(
        ("groups", "says"),
        [
            ({"attention": ["auto"]}, r"^initializers: received 'attention'; allowed: .*stem, hidden, head"),
            ({"d7": ["auto"]}, r"^initializers: received 'd7'"),
            ({"head": ["he_atuo"]}, r"^initializers: received 'he_atuo'.*'he_auto'"),
            ({"head": ["initialize:auto"]}, r"^initializers: received 'initialize:auto'"),
            ({"head": []}, r"^initializers: received \[\]"),
            ({}, r"^initializers: received \{\}"),
        ],
    )
    def test_bad_groups(self, groups: Any, says: str) -> None:
        with pytest.raises(InitxError, match=says):
            made(InitializerHyperModel(build, groups, None))

    def test_the_groups_are_those_of_the_core(self) -> None:
        from keras_initx.tuning.space.initializers import GROUPS

        from keras_initx._graph.groups import GROUPS as core

        assert core == GROUPS

    def test_a_search_by_group_tries_the_known_ones_first(self, quick: Any) -> None:
        groups = {"stem": ["random_normal", "own", "he_auto"], "head": ["he_auto", "own"]}
        result = quick(initializers=groups, trials=3, learning_rates=None)
        assert [dict(t.values) for t in result.trials[:2]] == [
            {"initializer:stem": name, "initializer:head": name} for name in ("own", "he_auto")
        ]


class TestGains:
    NAMES = ("he_normal", "he_auto", "auto")

    def test_gain_and_distribution_are_those_of_the_rules(self) -> None:
        hypermodel = InitializerHyperModel(
            build, self.NAMES, None, [0.5, 2.0], ["uniform", "truncated_normal"]
        )
        found = space(hypermodel)
        assert set(found) == {"initializer", "gain", "distribution"}
        for name in ("gain", "distribution"):
            (condition,) = found[name].conditions
            assert (condition.name, sorted(condition.values)) == ("initializer", ["auto", "he_auto"])
        for gain in (0.5, 2.0):
            model = made(hypermodel, initializer="he_auto", gain=gain, distribution="uniform")
            values = kernel(model, "d0")
            # For tanh he_auto counts the mean of both fans. Of a uniform distribution the largest value is
            # sqrt(3) standard deviations.
            assert np.std(values) == pytest.approx(np.sqrt(gain / 300), rel=5 / np.sqrt(2 * values.size))
            assert np.max(np.abs(values)) == pytest.approx(np.sqrt(3 * gain / 300), rel=1e-2)
        plain = made(hypermodel, initializer="he_normal")
        assert np.std(kernel(plain, "d0")) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
        assert isinstance(model.get_layer("d0").kernel_initializer, keras_initx.HeAuto)

    def test_by_group(self) -> None:
        groups = {"hidden": ["he_auto"], "head": ["ones"]}
        found = space(InitializerHyperModel(build, groups, None, Range(0.5, 2.0)))
        assert set(found) == {"initializer:hidden", "gain:hidden", "initializer:head"}

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"gains": [0.0]}, r"^gains: received"),
            ({"distributions": ["normal"]}, r"^distributions: received 'normal'.*truncated_normal"),
            ({"initializers": ["he_normal"], "gains": [1.0]}, r"^gains: received \[1.0\].*he_auto"),
            ({"initializers": ["ones"], "distributions": ["uniform"]}, r"^distributions: .*he_auto"),
        ],
    )
    def test_bad_values(self, options: Any, says: str) -> None:
        with pytest.raises(InitxError, match=says):
            KernelSpace(**{"initializers": ["he_auto"], **options})

    def test_a_search_over_them(self, quick: Any) -> None:
        options = {"initializers": ["he_auto", "he_normal"], "gains": Range(0.5, 4.0), "enqueue": []}
        result = quick(trials=6, seeds=1, epochs=1, **options)
        for trial in result.trials:
            assert ("gain" in trial.values) == (trial.values["initializer"] == "he_auto")


def test_a_group_that_is_misspelt(quick: Any) -> None:
    with pytest.raises(InitxError, match=r"^initializers: received 'hiden'.*Did you mean 'hidden'\?"):
        quick(initializers={"hiden": ["he_auto"]})
