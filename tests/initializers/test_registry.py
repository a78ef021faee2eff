"""The strings under which Keras finds the initializers."""

import keras
import pytest

pytestmark = pytest.mark.check


def test_the_name_of_the_class_is_a_name_too(scaled):
    assert type(keras.initializers.get(scaled.cls.__name__)) is scaled.cls
