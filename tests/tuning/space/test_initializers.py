"""Test initializers by group and by pattern, with their gains and distributions."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerHyperModel, KernelSpace, Range, SearchSpace

import keras_initx
from keras_initx import InitxError, kernel_groups, known_distributions, known_groups

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


def model_of(hypermodel: InitializerHyperModel, **values: Any) -> keras.Model:
    """Return the model that these values of the hyperparameters give."""
    hp = keras_tuner.HyperParameters()
    hypermodel.build(hp)
    hp.values.update(values)
    keras.utils.set_random_seed(1)
    return hypermodel.build(hp)


class TestGroups:
    def test_each_group_has_its_own_initializers(self) -> None:
        groups = {"hidden": ["random_normal"], "head": ["ones", "auto"], "d0*": ["zeros"]}
        hypermodel = InitializerHyperModel(build, SearchSpace(groups, None))
        assert set(space(hypermodel)) == {"initializer:hidden", "initializer:head", "initializer:d0*"}
        model = model_of(hypermodel)
        assert not kernel(model, "d0").any()
        for name in ("d1", "d2"):
            assert np.std(kernel(model, name)) == pytest.approx(0.05, rel=5 / np.sqrt(2 * 40_000))
        assert (kernel(model, "out") == 1).all()

    def test_kernels_in_no_group_keep_their_values(self) -> None:
        original = build()
        model = model_of(InitializerHyperModel(original, SearchSpace({"head": ["ones"]}, None)))
        for name in ("d0", "d1", "d2"):
            np.testing.assert_array_equal(kernel(model, name), kernel(original, name))

    def test_the_last_matching_key_decides(self) -> None:
        model = model_of(
            InitializerHyperModel(build, SearchSpace({"hidden": ["ones"], "d2": ["zeros"]}, None))
        )
        assert kernel(model, "d1").all()
        assert not kernel(model, "d2").any()

    def test_a_key_that_the_users_model_declares_is_refused(self) -> None:
        def declaring(hp: Any) -> keras.Model:
            hp.Choice("initializer:head", ["a", "b"])
            return build()

        hypermodel = InitializerHyperModel(
            declaring, SearchSpace({"hidden": ["ones"], "head": ["zeros"]}, None)
        )
        with pytest.raises(InitxError, match=r"^`initializers` has no effect: .*'initializer:head' itself"):
            hypermodel.build(keras_tuner.HyperParameters())

    @pytest.mark.parametrize(
        ("groups", "message"),
        [
            (
                {"attention": ["auto"]},
                r"^`initializers` has the group 'attention', .* no kernel in it\. .*: stem, hidden, head\.",
            ),
            ({"d7": ["auto"]}, r"^`initializers` has the key 'd7', which is neither a group nor .*dense|d0"),
            ({"head": ["he_atuo"]}, r"^`initializers` 'he_atuo' is not known\. Did you mean 'he_auto'"),
            ({"head": ["initialize:auto"]}, r"^`initializers` 'initialize:auto' is not known"),
            ({"head": []}, r"^`initializers` must be a list of one or more different names, got \[\]"),
            ({}, r"^`initializers` must be names, or names by group or pattern, got \{\}"),
        ],
    )
    def test_bad_groups(self, groups: Any, message: str) -> None:
        with pytest.raises(InitxError, match=message):
            model_of(InitializerHyperModel(build, SearchSpace(groups, None)))

    def test_a_misspelt_group_suggests_the_nearest(self) -> None:
        with pytest.raises(InitxError, match=r"^`initializers` has the key 'hiden'.*Did you mean 'hidden'\?"):
            model_of(InitializerHyperModel(build, SearchSpace({"hiden": ["he_auto"]}, None)))

    def test_every_group_of_the_core_is_known(self) -> None:
        absent = set(known_groups()) - set(kernel_groups(build()).values())
        assert {"attention", "recurrent"} <= absent
        for group in absent:
            with pytest.raises(InitxError, match=rf"^`initializers` has the group '{group}'"):
                model_of(InitializerHyperModel(build, SearchSpace({group: ["auto"]}, None)))

    def test_a_search_by_group_tries_the_candidates_first(self, quick: Any) -> None:
        groups = {"stem": ["random_normal", "own", "he_auto"], "head": ["he_auto", "own"]}
        result = quick(initializers=groups, trials=2, learning_rates=None, seeds=1, epochs=1, screening=False)
        assert [dict(t.values) for t in result.trials] == [
            {"initializer:stem": name, "initializer:head": name} for name in ("own", "he_auto")
        ]


class TestGains:
    NAMES = ("he_normal", "he_auto", "auto")

    def test_gain_and_distribution_apply_to_the_rules(self) -> None:
        hypermodel = InitializerHyperModel(
            build, SearchSpace(self.NAMES, None, [0.5, 2.0], ["uniform", "truncated_normal"])
        )
        hyperparameters = space(hypermodel)
        assert set(hyperparameters) == {"initializer", "gain", "distribution"}
        for name in ("gain", "distribution"):
            (condition,) = hyperparameters[name].conditions
            assert (condition.name, sorted(condition.values)) == ("initializer", ["auto", "he_auto"])
        for gain in (0.5, 2.0):
            model = model_of(hypermodel, initializer="he_auto", gain=gain, distribution="uniform")
            values = kernel(model, "d0")
            # For tanh, he_auto takes the mean of both fans. The largest value of a uniform distribution is
            # sqrt(3) standard deviations.
            assert np.std(values) == pytest.approx(np.sqrt(gain / 300), rel=5 / np.sqrt(2 * values.size))
            assert np.max(np.abs(values)) == pytest.approx(np.sqrt(3 * gain / 300), rel=1e-2)
        without_rule = model_of(hypermodel, initializer="he_normal")
        assert np.std(kernel(without_rule, "d0")) == pytest.approx(np.sqrt(2 / 400), rel=0.02)
        assert isinstance(model.get_layer("d0").kernel_initializer, keras_initx.HeAuto)

    def test_by_group(self) -> None:
        groups = {"hidden": ["he_auto"], "head": ["ones"]}
        hyperparameters = space(InitializerHyperModel(build, SearchSpace(groups, None, Range(0.5, 2.0))))
        assert set(hyperparameters) == {"initializer:hidden", "gain:hidden", "initializer:head"}

    def test_the_rules_are_all_that_take_a_gain_and_a_distribution(self) -> None:
        names = ["xavier_auto", "glorot_auto", "lecun_auto", "auto", "he_auto", "he_normal", "ones"]
        conditions = space(InitializerHyperModel(build, SearchSpace(names, None, [1.0])))["gain"].conditions
        assert [sorted(c.values) for c in conditions] == [
            ["auto", "glorot_auto", "he_auto", "lecun_auto", "xavier_auto"]
        ]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"gains": [0.0]}, r"^`gains` must be .*, got \[0\.0\]"),
            (
                {"distributions": ["untruncated_normal"]},
                r"^`distributions` 'untruncated_normal' is not known.* normal, truncated_normal, uniform",
            ),
            (
                {"initializers": ["he_normal"], "gains": [1.0]},
                r"^`gains=\[1\.0\]` applies to none of the initializers\. Add one of .*he_auto",
            ),
            (
                {"initializers": ["ones"], "distributions": ["uniform"]},
                r"^`distributions=\['uniform'\]` applies to none of .*he_auto",
            ),
        ],
    )
    def test_bad_values(self, options: Any, message: str) -> None:
        with pytest.raises(InitxError, match=message):
            KernelSpace(**{"initializers": ["he_auto"], **options})

    def test_a_search_over_gains_and_every_distribution_of_he_auto(self, quick: Any) -> None:
        distributions = known_distributions()
        assert [keras_initx.HeAuto(name).distribution for name in distributions] == distributions
        assert set(distributions) == {"truncated_normal", "normal", "uniform"}
        enqueued = [{"initializer": "he_auto", "distribution": name} for name in distributions]
        enqueued.append({"initializer": "he_normal"})
        result = quick(
            initializers=["he_auto", "he_normal"], gains=Range(0.5, 4.0), distributions=distributions,
            learning_rates=None, enqueue=enqueued, trials=len(enqueued), seeds=1, epochs=1,
            batch_size=48, screening=False,
        )  # fmt: skip
        assert [t.status for t in result.trials] == ["completed"] * 4
        for trial, values in zip(result.trials, enqueued, strict=True):
            sampled = {name: value for name, value in trial.values.items() if name != "gain"}
            assert sampled == values
            assert ("gain" in trial.values) == (trial.values["initializer"] == "he_auto")
            hp = result.tuner.oracle.get_trial(f"{trial.number:04d}").hyperparameters
            initializer = result.tuner.hypermodel.build(hp).layers[0].kernel_initializer
            if "gain" in trial.values:
                assert initializer.gain == trial.values["gain"]
                assert initializer.distribution == trial.values["distribution"]


class TestOtherWeights:
    """Recurrent kernels, look-up tables and biases have initializers of their own in the space."""

    def tagger(self) -> keras.Model:
        model = keras.Sequential(
            [
                keras.Input((5,)),
                keras.layers.Embedding(30, 4),
                keras.layers.SimpleRNN(6),
                keras.layers.Dense(2),
            ]
        )
        model.compile("sgd", "mse")
        return model

    @pytest.mark.parametrize(
        ("key", "drawn"),
        [
            ("recurrent_kernels", {"recurrent_kernel"}),
            ("embeddings", {"embeddings"}),
            ("biases", {"bias"}),
            ("", {"kernel"}),
        ],
    )
    def test_a_key_draws_its_kind_and_nothing_else(self, key: str, drawn: set[str]) -> None:
        names = {key: ["ones"]} if key else ["ones"]
        model = model_of(InitializerHyperModel(self.tagger, SearchSpace(names)))
        ones = {v.name for v in model.variables if np.all(keras.ops.convert_to_numpy(v) == 1)}
        assert ones & {"kernel", "recurrent_kernel", "embeddings", "bias"} == drawn

    def test_biases_have_an_initializer_of_their_own(self) -> None:
        hyperparameters = space(
            InitializerHyperModel(self.tagger, SearchSpace({"biases": ["zeros", "bias_auto"]}))
        )
        assert hyperparameters["initializer:biases"].values == ["zeros", "bias_auto"]

    def test_the_tables_of_a_model_without_kernels(self) -> None:
        def factors() -> keras.Model:
            model = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(30, 4)])
            model.compile("sgd", "mse")
            return model

        model = model_of(InitializerHyperModel(factors, SearchSpace(["ones"])))
        assert np.all(model.get_weights()[0] == 1)


class Narrow(keras.initializers.RandomNormal):
    def __init__(self) -> None:
        super().__init__(stddev=1e-3)


class TestObjects:
    """Initializers that are passed instead of their names."""

    @pytest.mark.parametrize("initializer", [keras.initializers.HeNormal(), keras_initx.HeAuto()])
    def test_the_name_is_suggested(self, initializer: Any) -> None:
        name = {"HeNormal": "he_normal", "HeAuto": "he_auto"}[type(initializer).__name__]
        with pytest.raises(InitxError, match=f"^`initializers` must be names.* Pass '{name}'; for other arg"):
            KernelSpace(["auto", initializer])

    def test_the_users_own_class_needs_a_name(self) -> None:
        with pytest.raises(InitxError, match=r"got 'Narrow'\. To use it, register .*get_custom_objects"):
            KernelSpace([Narrow()])

    def test_a_registered_name_is_drawn_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(keras.saving.get_custom_objects(), "narrow", Narrow)
        hypermodel = InitializerHyperModel(build, SearchSpace(["narrow"], None))
        spread = np.std(kernel(model_of(hypermodel), "d1"))
        assert spread == pytest.approx(1e-3, rel=5 / np.sqrt(2 * 40_000))
