"""What a graph knows about its tensors: who computes them, who reads them, what they depend on."""

import keras
import pytest
from keras import layers

from keras_initx._graph import trace

pytestmark = pytest.mark.check


@pytest.fixture(scope="module")
def graph():
    """Trace a branch of a Dense and a Dropout of rate 0 that is multiplied with the input."""
    x = keras.Input((4,))
    h = layers.Dropout(0.0)(layers.Dense(4, name="hidden")(x))
    return trace(keras.Model(x, layers.Dense(2, name="last")(layers.Multiply()([x, h]))))


def steps(graph, kind):
    return [step for step in graph.steps if step.kind == kind]


def test_producers_and_consumers(graph):
    hidden, last = steps(graph, "Dense")
    (product,) = steps(graph, "Multiply")
    (signal,) = hidden.inputs
    assert graph.producer(graph.inputs[0]) is None
    assert graph.producer(graph.outputs[0]) is last
    assert graph.producer(hidden.outputs[0]) is hidden
    assert graph.consumers(signal) == (hidden, product)
    assert graph.consumers(product.outputs[0]) == (last,)
    assert graph.consumers(graph.outputs[0]) == ()


def test_ancestors_are_the_steps_before_a_tensor(graph):
    hidden, last = steps(graph, "Dense")
    (product,) = steps(graph, "Multiply")
    before = graph.ancestors[product.outputs[0]]
    assert before >> hidden.number & 1
    assert before >> product.number & 1
    assert not before >> last.number & 1
    assert graph.ancestors[graph.inputs[0]] == 0


def test_properties_of_steps(graph):
    hidden, _ = steps(graph, "Dense")
    (product,) = steps(graph, "Multiply")
    assert hidden.is_weighted
    assert not product.is_weighted
    assert product.is_product
    assert hidden.operation is hidden.layer
    assert hidden.signals == hidden.inputs
