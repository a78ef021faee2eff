import keras
import pytest
from keras import layers, ops

from keras_initx._graph import trace
from keras_initx._graph.roles.walks import first_weighted, is_gating, last_weighted, steps_before

pytestmark = pytest.mark.check


def graph_of(build):
    x = keras.Input((4,))
    return trace(keras.Model(x, build(x)))


def names(steps):
    return {step.operation.name for step in steps}


def test_the_last_weights_of_a_product_are_those_of_its_signal():
    graph = graph_of(
        lambda x: layers.Dense(3, name="signal")(x) * ops.sigmoid(layers.Dense(3, name="gate")(x))
    )
    assert names(last_weighted(graph, graph.outputs[0])) == {"signal"}


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda z: ops.sigmoid(z), True),
        (lambda z: ops.softmax(z)[:, None], True),
        (lambda z: ops.sigmoid(z) * ops.tanh(2 * z), True),
        (lambda z: ops.top_k(ops.softmax(z), 2)[0] / 2, True),
        (lambda z: ops.take_along_axis(ops.softmax(z), ops.argsort(z), axis=1), True),
        (lambda z: z * ops.sigmoid(z), False),
        (lambda z: z + ops.sigmoid(z), False),
        (lambda z: ops.relu(z), False),
    ],
)
def test_gating(build, expected):
    graph = graph_of(lambda x: build(layers.Dense(4)(x)))
    assert is_gating(graph, graph.outputs[0]) is expected


def test_integers_carry_no_signal():
    graph = graph_of(lambda x: ops.one_hot(ops.argmax(layers.Dense(4, name="router")(x), axis=1), 4))
    assert last_weighted(graph, graph.outputs[0]) == []
    assert [step.kind for step in steps_before(graph, graph.outputs)] == ["OneHot"]


def test_the_first_weights_after_a_tensor():
    graph = graph_of(lambda x: layers.Dense(2, name="next")(ops.reshape(layers.Dense(4)(x), (-1, 2, 2))))
    first = next(step for step in graph.steps if step.is_weighted)
    assert names(first_weighted(graph, first.outputs)) == {"next"}
