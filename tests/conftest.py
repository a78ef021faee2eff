"""Fixtures for the whole suite."""

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def repeatable():
    """Every test starts from the same seeds and layer names, whatever ran before it."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(20261124)


def sampling_bound(count: int) -> float:
    """Five standard errors of the relative standard deviation of `count` Gaussian draws."""
    return 5 / np.sqrt(2 * count)


@pytest.fixture
def assert_std():
    def check(values, expected: float) -> None:
        values = keras.ops.convert_to_numpy(values).astype("float64")
        measured = np.sqrt(np.mean(np.square(values)))
        bound = sampling_bound(values.size)
        assert abs(measured / expected - 1) <= bound, (
            f"std {measured:.5f} of {values.size} draws, expected {expected:.5f} within {bound:.2%}"
        )
        assert abs(values.mean()) <= 5 * expected / np.sqrt(values.size)

    return check
