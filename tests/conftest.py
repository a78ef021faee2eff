"""Fixtures for the whole suite, and how pytest-xdist shares it out."""

import gc
import os

# The workers of pytest-xdist occupy every core, so more threads per worker would only compete. The libraries
# read these variables once, when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

import keras
import numpy as np
import pytest

# TensorFlow leaves many objects behind, and Python would search all of them for cycles again and again.
gc.freeze()
gc.set_threshold(200_000, 20, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return twice the cores for `--numprocesses auto`: the longest tests wait for other processes."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file on one worker, so that it builds its shared models once; run slow tests first and apart.

    A slow test that needs what its file shares has an `xdist_group` of its own choice.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            is_slow = item.get_closest_marker("slow")
            item.add_marker(pytest.mark.xdist_group(item.nodeid if is_slow else item.location[0]))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
