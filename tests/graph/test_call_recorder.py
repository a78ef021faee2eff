"""Calls are recorded on one thread only, and Keras is as before afterwards."""

import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError
from keras_initx._graph import trace

pytestmark = pytest.mark.check


def test_another_thread_can_build_a_model_at_the_same_time():
    started, go_on, built = threading.Event(), threading.Event(), []

    class Waits(layers.Layer):
        wait = False

        def call(self, x):
            if self.wait:
                started.set()
                assert go_on.wait(20)
            return ops.relu(x)

    layer = Waits()
    model = keras.Sequential([keras.Input((3,)), layer, layers.Dense(2)])
    layer.wait = True

    def build():
        assert started.wait(20)
        x = keras.Input((5,))
        built.append(keras.Model(x, ops.tanh(layers.Dense(4)(x)) + 1.0))
        go_on.set()

    thread = threading.Thread(target=build)
    thread.start()
    graph = trace(model)
    thread.join()
    assert [s.kind for s in graph.steps if s.kind != "ConvertToTensor"] == ["Relu", "Dense"]
    assert len(built[0].operations) == 4
    assert len(built[0].layers[1]._inbound_nodes) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_are_removed_after_an_error(error):
    class Fails(keras.Model):
        fail = False

        def call(self, x):
            if self.fail:
                raise error("no")
            return x

    call, symbolic = keras.Layer.__call__, keras.Operation.symbolic_call
    start, left = keras.Operation.__init__, keras.Variable.__mul__
    model = Fails()
    model(np.zeros((2, 3), "float32"))
    model.fail = True
    with pytest.raises((InitxError, KeyboardInterrupt)):
        trace(model)
    assert keras.Layer.__call__ is call
    assert keras.Operation.symbolic_call is symbolic
    assert keras.Operation.__init__ is start
    assert keras.Variable.__mul__ is left
