import weakref

import keras
import numpy as np
import pytest
from keras import ops

from keras_initx._graph import replay as module
from keras_initx._graph.noise import noise
from keras_initx._graph.replay import replay
from keras_initx._graph.trace import trace
from tests.support import zoo


def inference(step, args, kwargs):
    operation = step.call.operation
    if step.is_layer and module._takes_training(operation):
        return operation(*args, **{**kwargs, "training": False})
    return operation(*args, **kwargs) if step.is_layer else operation.call(*args, **kwargs)


def check(model, batch):
    graph = trace(model, batch=batch)
    x = noise(graph, batch, seed=1)
    expected = [ops.convert_to_numpy(t) for t in keras.tree.flatten(model(x, training=False))]
    for mine, theirs in zip(replay(graph, x, inference), expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(mine), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", zoo.PLAIN)
def test_it_computes_what_the_model_does(name):
    check(zoo.PLAIN[name](), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.APPLICATIONS)
def test_applications(name):
    check(getattr(keras.applications, name)(weights=None), 2)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch keeps what a gradient would need")
def test_tensors_are_let_go_as_soon_as_no_step_needs_them():
    ids = keras.Input((6,), dtype="int32")
    h = keras.layers.Embedding(10, 8, mask_zero=True)(ids)
    for _ in range(20):
        h = keras.layers.Dense(8, "tanh")(h)
    model = keras.Model(ids, keras.layers.LSTM(4)(h))
    made, alive = [], []

    def step(step, args, kwargs):
        outputs = inference(step, args, kwargs)
        if step.kind == "Dense":
            # What is seen here is alive, and in its own name: TensorFlow's tensors compare by their values.
            made.append(weakref.ref(outputs))
            alive.append(sum(one() is not None for one in made))
        return outputs

    x = ops.convert_to_tensor(np.ones((3, 6), "int32"))
    replay(trace(model, x), x, step)
    assert len(alive) == 20
    assert max(alive) <= 3


def test_batch_normalization_sees_its_batch_and_dropout_is_off():
    x = keras.Input((6,))
    h = keras.layers.Dropout(0.9)(keras.layers.BatchNormalization()(x))
    model = keras.Model(x, h)
    graph = trace(model, batch=256)
    shifted = noise(graph, 256, 0) * 3.0 + 5.0
    out = ops.convert_to_numpy(replay(graph, shifted, module.compute)[0])
    assert abs(out.mean()) < 1e-3
    assert abs(out.std() - 1) < 1e-2
