"""Check which weight gets which method: auto, residual, variance and the others."""

import pytest
from keras import layers

from keras_initx import initialize
from tests.support import zoo
from tests.support.arrays import array
from tests.support.chains import chain

pytestmark = pytest.mark.check


def methods(model, method="auto"):
    return [row.method for row in initialize(model, method, seed=0).rows]


class TestAuto:
    @pytest.mark.parametrize(
        ("activation", "method"),
        [
            ("relu", "mirrored"),
            ("gelu", "mirrored"),
            ("softplus", "mirrored"),
            ("tanh", "edge"),
            ("selu", "edge"),
            ("sigmoid", "gpn"),
        ],
    )
    def test_deep_chains(self, activation, method):
        assert set(methods(chain(20, activation))) == {method}

    def test_short_chains(self):
        assert set(methods(chain(4, "relu"))) == {"variance"}
        assert set(methods(chain(8, "relu", layers.Conv2D))) == {"variance"}

    def test_kernels_fill_the_window_but_in_the_deepest_convolutions(self):
        for depth, filled in ((15, True), (45, False)):
            model = chain(depth, "relu", layers.Conv2D)
            assert set(methods(model)) == {"mirrored"}
            kernel = array(model.layers[3].kernel)
            assert bool(kernel[0, 0].any()) is filled
            assert kernel[1, 1].any()

    def test_residual_ends_and_normalizations(self):
        assert methods(zoo.residual_cnn(normalized=False, blocks=2)).count("residual") == 2
        plan = initialize(zoo.residual_cnn(blocks=2), seed=0)
        assert {row.method for row in plan.rows} == {"variance"}
        assert any("normalization" in row.reason for row in plan.rows)

    def test_every_row_has_a_reason(self):
        assert all(row.reason for row in initialize(zoo.vit(blocks=1), seed=0).rows)
