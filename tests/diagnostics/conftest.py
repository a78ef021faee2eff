"""A small model, and data for it."""

import keras
import numpy as np
import pytest
from keras import layers


@pytest.fixture
def model():
    hidden = [layers.Dense(16, "tanh", kernel_initializer="glorot_uniform") for _ in range(6)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2)])


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
