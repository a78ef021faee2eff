"""Root mean squares with their errors, and biases that shift the inputs, by NumPy."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from keras_initx.model_init.calibration.measure import root_mean_square, shift_bias
from tests.support.arrays import rms

pytestmark = pytest.mark.check


def test_the_error_is_the_spread_of_repeated_measurements():
    generator = np.random.default_rng(0)
    # Samples differ in size, so entries of one sample are not independent.
    draws = generator.normal(size=(400, 32, 10)) * generator.uniform(0.5, 2, size=(400, 32, 1))
    measured = [root_mean_square(keras.ops.convert_to_tensor(x, "float32")) for x in draws]
    sizes, errors = np.transpose(measured)
    assert sizes[0] == pytest.approx(rms(draws[0]), rel=1e-5)
    assert np.mean(errors) == pytest.approx(np.std(sizes) / np.mean(sizes), rel=0.15)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(np.zeros((3, 2)), (0.0, 0.0)), (np.ones((1, 8)), (1.0, 0.25)), (np.array(2.0), (2.0, 0.5**0.5))],
)
def test_zeros_one_sample_and_a_number(values, expected):
    assert root_mean_square(keras.ops.convert_to_tensor(values, "float32")) == pytest.approx(expected)


def test_values_that_are_not_finite_have_no_size():
    assert np.isnan(root_mean_square(keras.ops.convert_to_tensor([[np.nan, 1.0]]))[0])


@pytest.mark.parametrize("shift", [0.0, 2.0, None])
def test_the_bias_adds_a_shift_to_every_input(shift):
    generator = np.random.default_rng(1)
    kernel = generator.normal(size=(3, 4, 5)).astype("float32")
    x = generator.normal(1.5, size=(7, 3, 4)).astype("float32")
    task = SimpleNamespace(
        variable=keras.Variable(kernel),
        bias=keras.Variable(np.zeros(5, "float32")),
        choice=SimpleNamespace(before=SimpleNamespace(shift=shift)),
    )
    added = -x.mean() if shift is None else shift
    shifted = np.tensordot(x + added, kernel, 2)
    bias = shift_bias(task, keras.ops.convert_to_tensor(x))
    np.testing.assert_allclose(np.tensordot(x, kernel, 2) + bias, shifted, rtol=1e-4, atol=1e-4)
