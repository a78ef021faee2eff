"""Fixtures for the diagnostics: a small model, data for it, and a pass that TensorFlow traces."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx.diagnostics.probe import model as probe


@pytest.fixture
def model():
    hidden = [layers.Dense(16, "tanh", kernel_initializer="glorot_uniform") for _ in range(6)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2)])


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(32, 8)).astype("float32")


@pytest.fixture
def compiled_pass(monkeypatch):
    """Trace the pass of `diagnose` from the first one on, as for a loop over time."""
    monkeypatch.setattr(probe, "_UNTRACED", 0)
