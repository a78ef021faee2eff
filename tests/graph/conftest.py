"""Fixtures that build and trace each model of the zoo once; the tests of this folder change no weight."""

import functools
from collections.abc import Callable

import keras
import pytest

from keras_initx._graph import Graph, trace
from tests.support import zoo


@pytest.fixture(scope="session")
def plain_model() -> Callable[[str], keras.Model]:
    """Return a function that builds a model of `zoo.PLAIN` on its first call and reuses it afterwards."""
    return functools.cache(lambda name: zoo.PLAIN[name]())


@pytest.fixture(scope="session")
def plain_graph(plain_model: Callable[[str], keras.Model]) -> Callable[[str], Graph]:
    """Return a function that traces a model of `zoo.PLAIN` on its first call and reuses the graph."""
    return functools.cache(lambda name: trace(plain_model(name)))


@pytest.fixture(scope="session")
def application() -> Callable[[str], keras.Model]:
    """Return a function that builds a small version of a Keras application, once per name."""
    # 96 pixels are enough for every application, and 10 classes keep the head small.
    return functools.cache(
        lambda name: getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classes=10)
    )
