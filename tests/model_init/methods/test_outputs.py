"""An output layer whose bias sets a prior, or another output, keeps it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import PriorBias, initialize


def detector(bias_initializer, activation="sigmoid"):
    """Return a detector whose two feature levels share one head, as in RetinaNet."""
    inputs = keras.Input((16, 16, 3))
    near = layers.Conv2D(24, 3, padding="same", activation="relu")(inputs)
    far = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(near)
    tower = layers.Conv2D(24, 3, padding="same", activation="relu", name="tower")
    head = layers.Conv2D(
        5, 3, padding="same", activation=activation, bias_initializer=bias_initializer, name="head"
    )
    outputs = [layers.Reshape((-1, 5))(head(tower(level))) for level in (near, far)]
    return keras.Model(inputs, layers.Concatenate(axis=1)(outputs))


def probability(logits):
    return 1 / (1 + np.exp(-logits))


class TestPrior:
    @pytest.mark.parametrize("activation", ["sigmoid", None])
    @pytest.mark.parametrize("prior", [0.01, 0.25, 0.99])
    def test_the_mean_probability_stays(self, prior, activation):
        logit = np.log(prior / (1 - prior))
        model = detector(keras.initializers.Constant(logit), activation)
        x = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
        plan = initialize(model, seed=0)
        outputs = ops.convert_to_numpy(model(x))
        p = outputs if activation else probability(outputs)
        # The noise of the pass adds a few percent to the size s of the logits.
        assert min(p.mean(), 1 - p.mean()) == pytest.approx(min(prior, 1 - prior), rel=0.1)
        (row,) = [row for row in plan.rows if row.path.endswith("head/kernel")]
        logits = np.log(p / (1 - p)) - logit
        assert 0.05 < logits.std() < 0.2
        assert "bias sets the output" in row.reason
        assert row.target == pytest.approx(np.log(1.1))

    def test_no_logits_of_the_size_move_the_mean_by_more_than_a_tenth(self):
        model = detector("zeros")
        size = initialize(detector(keras.initializers.Constant(-3.0)), seed=0, dry_run=True).rows[-1].target
        z, weights = np.polynomial.hermite_e.hermegauss(30)
        weights /= weights.sum()
        for share in np.linspace(-1, 1, 21):
            for bias in (-9.0, -3.0, -1.0, 1.0, 3.0):
                logits = bias + size * (share + np.sqrt(1 - share**2) * z)
                mean = np.sum(weights * probability(-np.abs(bias) + logits - bias))
                assert mean == pytest.approx(probability(-np.abs(bias)), rel=0.1001)
        # Outputs of the usual size do: the bound on the size is needed.
        assert initialize(model, seed=0, dry_run=True).rows[-1].target == pytest.approx(1)
        assert np.sum(weights * probability(-3 + z)) > 1.4 * probability(-3)

    def test_an_output_without_a_prior_has_variance_1(self):
        for bias in ("zeros", keras.initializers.Constant(0.5)):
            plan = initialize(detector(bias), seed=0)
            assert plan.rows[-1].target == pytest.approx(1)

    def test_what_the_logits_of_a_softmax_have_in_common_holds_nothing(self):
        def target(bias, activation, after=()):
            head = layers.Dense(4, activation, bias_initializer=bias)
            model = keras.Sequential([keras.Input((30,)), layers.Dense(40, "relu"), head, *after])
            return initialize(model, seed=0, dry_run=True).rows[-1].target

        common, rare = keras.initializers.Constant(-5.0), PriorBias(class_counts=[1, 1, 1, 997])
        assert target(common, "softmax") == pytest.approx(1)
        assert target(common, None, [layers.Softmax()]) == pytest.approx(1)
        # Separate sigmoids, and logits that differ, keep theirs.
        assert target(common, "sigmoid") == pytest.approx(np.log(1.1))
        assert target(common, None) == pytest.approx(np.log(1.1))
        assert target(rare, "softmax") == pytest.approx(np.log(1.1))

    def test_the_mean_of_a_regression_is_held_as_well(self):
        head = layers.Dense(1, bias_initializer=keras.initializers.Constant(7.0))
        model = keras.Sequential([keras.Input((30,)), layers.Dense(40, "relu"), head])
        initialize(model, seed=0)
        x = np.random.default_rng(1).normal(size=(500, 30)).astype("float32")
        assert np.abs(ops.convert_to_numpy(model(x)) - 7).max() < 0.5

    @pytest.mark.parametrize("method", ["gpn", "shaped", "auto"])
    def test_a_method_that_sets_biases_leaves_it(self, method):
        head = layers.Dense(1, "sigmoid", bias_initializer=keras.initializers.Constant(-3.0))
        hidden = [layers.Dense(40, "sigmoid" if method == "gpn" else "relu") for _ in range(6)]
        model = keras.Sequential([keras.Input((30,)), *hidden, head])
        for _ in range(2):
            plan = initialize(model, method, seed=0)
            assert ops.convert_to_numpy(head.bias).tolist() == [-3.0]
            assert plan.rows[-1].target == pytest.approx(np.log(1.1))

    @pytest.mark.parametrize("method", ["gpn", "shaped"])
    def test_a_bias_that_a_method_set_holds_nothing(self, method):
        hidden = [layers.Dense(40, "sigmoid") for _ in range(6)]
        model = keras.Sequential([keras.Input((30,)), *hidden, layers.Dense(1)])
        targets = [initialize(model, method, seed=0).rows[-1].target for _ in range(2)]
        assert targets == pytest.approx([1, 1])

    @pytest.mark.parametrize("activation", ["sigmoid", None])
    @pytest.mark.parametrize("method", ["auto", "gpn"])
    def test_log_odds_of_labels_are_kept_too(self, method, activation):
        model = keras.Sequential(
            [keras.Input((30,)), layers.Dense(40, "sigmoid"), layers.Dense(1, activation)]
        )
        initialize(model, method, seed=0, output_bias="prior", class_counts=[990, 10])
        x = np.random.default_rng(1).normal(size=(500, 30)).astype("float32")
        outputs = ops.convert_to_numpy(model(x))
        assert (outputs if activation else probability(outputs)).mean() == pytest.approx(0.01, rel=0.11)

    def test_no_method_overwrites_log_odds_of_frequent_classes(self):
        model = keras.Sequential(
            [keras.Input((30,)), layers.Dense(40, "sigmoid"), layers.Dense(1, "sigmoid")]
        )
        initialize(model, "gpn", seed=0, output_bias="prior", class_counts=[6, 4])
        bias = float(ops.convert_to_numpy(model.layers[-1].bias)[0])
        assert bias == pytest.approx(np.log(4 / 6), rel=1e-5)

    def test_an_output_bias_that_initialize_sets_changes_no_second_call(self):
        model = keras.Sequential([keras.Input((30,)), layers.Dense(40, "relu"), layers.Dense(1, "sigmoid")])
        kernels = []
        for _ in range(2):
            initialize(model, seed=0, output_bias="prior", class_counts=[990, 10])
            kernels.append(ops.convert_to_numpy(model.layers[-1].kernel))
        np.testing.assert_array_equal(*kernels)

    def test_class_frequencies(self):
        head = layers.Dense(1, "sigmoid", bias_initializer=PriorBias(class_counts=[9900, 100]))
        model = keras.Sequential([keras.Input((30,)), layers.Dense(40, "relu"), head])
        initialize(model, seed=0)
        x = np.random.default_rng(1).normal(size=(500, 30)).astype("float32")
        # The logits have a standard deviation of 0.1. relu's mean moves all of them by 0.1 / sqrt(pi).
        four_errors = 4 * 0.1 / np.sqrt(np.pi)
        assert ops.convert_to_numpy(model(x)).mean() == pytest.approx(0.01, rel=four_errors)
