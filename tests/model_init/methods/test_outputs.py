"""An output layer whose bias sets a prior keeps it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import PriorBias, initialize


def detector(bias_initializer):
    """Return a detector whose two feature levels share one head, as in RetinaNet."""
    inputs = keras.Input((16, 16, 3))
    near = layers.Conv2D(24, 3, padding="same", activation="relu")(inputs)
    far = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu")(near)
    tower = layers.Conv2D(24, 3, padding="same", activation="relu", name="tower")
    head = layers.Conv2D(
        5, 3, padding="same", activation="sigmoid", bias_initializer=bias_initializer, name="head"
    )
    outputs = [layers.Reshape((-1, 5))(head(tower(level))) for level in (near, far)]
    return keras.Model(inputs, layers.Concatenate(axis=1)(outputs))


class TestPrior:
    @pytest.mark.parametrize("prior", [0.01, 0.99])
    def test_the_mean_probability_stays(self, prior):
        logit = np.log(prior / (1 - prior))
        model = detector(keras.initializers.Constant(logit))
        x = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
        plan = initialize(model, seed=0)
        p = ops.convert_to_numpy(model(x))
        # exp(s^2 / 2) for s = 0.1 is 1.005; the noise of the pass adds a few percent to s.
        assert min(p.mean(), 1 - p.mean()) == pytest.approx(0.01, rel=0.05)
        logits = np.log(p / (1 - p)) - logit
        assert 0.05 < logits.std() < 0.2
        (row,) = [row for row in plan.rows if row.path.endswith("head/kernel")]
        assert "prior" in row.reason
        assert row.target == pytest.approx(0.1)

    def test_an_output_without_a_prior_has_variance_1(self):
        for bias in ("zeros", keras.initializers.Constant(0.5)):
            plan = initialize(detector(bias), seed=0)
            assert plan.rows[-1].target == pytest.approx(1)

    def test_the_mean_of_a_regression_is_no_prior(self):
        head = layers.Dense(1, bias_initializer=keras.initializers.Constant(7.0))
        plan = initialize(keras.Sequential([keras.Input((30,)), layers.Dense(40, "relu"), head]), seed=0)
        assert plan.rows[-1].target == pytest.approx(1)

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
