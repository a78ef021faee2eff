"""Fixtures for the diagnostics: a small model, data for it, and a pass that is not compiled."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.support.networks import run_probe_eagerly


@pytest.fixture
def model():
    hidden = [layers.Dense(16, "tanh", kernel_initializer="glorot_uniform") for _ in range(6)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2)])


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(32, 8)).astype("float32")


@pytest.fixture
def compiled_pass():
    """Keep the pass of `diagnose` compiled in a test of a file that uses `eager_pass`."""


@pytest.fixture
def eager_pass(request, monkeypatch):
    """Run the pass of `diagnose` eagerly, unless the test uses `compiled_pass`.

    The tests of its figures, and a few of each of verdicts, comparisons, plots and reports, keep it compiled.
    """
    if "compiled_pass" not in request.fixturenames:
        run_probe_eagerly(monkeypatch)
