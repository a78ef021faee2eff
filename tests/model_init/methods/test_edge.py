"""`edge`: deep networks keep their signal and their gradients."""

import numpy as np
import pytest

from keras_initx import initialize
from keras_initx._theory.activation import read_activation
from keras_initx._theory.mean_field import edge_variance
from tests.support.chains import dense, spread


class TestEdge:
    def test_the_target_is_the_variance_of_the_depth(self):
        plan = initialize(dense(30, "tanh"), "edge", seed=0)
        q = edge_variance(read_activation("tanh"), 31)
        assert all(row.target == pytest.approx(q**0.5) for row in plan.rows[:-1])
        assert plan.rows[-1].target == 1

    def test_depth_200_holds(self):
        model = dense(200, "tanh")
        initialize(model, "edge", seed=0)
        assert np.all(np.abs(spread(model, "tanh")) < 0.3)
