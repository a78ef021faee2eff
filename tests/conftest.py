"""Fixtures for the whole suite."""

import os

# pytest-xdist starts one worker per core, so more threads per worker would only compete. The libraries read
# these variables once, when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def repeatable():
    """Start every test from the same seeds and layer names."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(20261124)


def sampling_bound(count: int) -> float:
    """Return five standard errors of the relative standard deviation of `count` Gaussian draws."""
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
