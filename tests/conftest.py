"""Fixtures for the whole suite, and how pytest-xdist shares it out."""

import gc
import os

# The workers of pytest-xdist occupy every core, so more threads per worker would only compete. The libraries
# read these variables once, when they are imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
# Most programs that a test compiles run for a few steps, so optimizing them takes longer than it saves.
# XLA reads this in every process, also in those that tests start.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import keras
import numpy as np
import pytest

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Most functions here run a few times, so TensorFlow would take longer to optimize their graphs than to
    # run them. The processes that tests start optimize as usual, which may change the last digits.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})

# TensorFlow leaves many objects behind, and Python would search all of them for cycles again and again.
gc.freeze()
gc.set_threshold(200_000, 20, 100)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Return four workers on one or two cores, because the longest tests wait for other processes."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ or (os.cpu_count() or 1) > 2:
        return None
    return 4


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that none of them runs alone at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


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
