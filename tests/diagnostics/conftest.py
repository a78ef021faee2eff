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
def eager_pass(monkeypatch):
    """Run the pass of `diagnose` eagerly. The tests of its figures keep the compiled pass."""
    run_probe_eagerly(monkeypatch)
