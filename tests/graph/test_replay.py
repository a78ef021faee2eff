import inspect
import weakref

import keras
import numpy as np
import pytest
from keras import ops

from keras_initx._graph import compute, noise, replay, trace
from tests.support import zoo


def infer(step, args, kwargs):
    """Compute a step in inference mode, batch normalization included."""
    if step.is_layer and "training" in inspect.signature(step.operation.call).parameters:
        kwargs = {**kwargs, "training": False}
    return step.operation(*args, **kwargs) if step.is_layer else step.operation.call(*args, **kwargs)


def check(model, batch):
    graph = trace(model, batch=batch)
    x = noise(graph, batch, seed=1)
    expected = [ops.convert_to_numpy(t) for t in keras.tree.flatten(model(x, training=False))]
    for replayed, called in zip(replay(graph, x, infer), expected, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(replayed), called, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", zoo.PLAIN)
def test_a_replay_computes_what_the_model_computes(name, plain_model):
    check(plain_model(name), 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.APPLICATIONS)
def test_applications(name, application):
    check(application(name), 2)


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch keeps the tensors of a gradient")
def test_tensors_are_released_as_soon_as_no_step_needs_them():
    ids = keras.Input((6,), dtype="int32")
    h = keras.layers.Embedding(10, 8, mask_zero=True)(ids)
    for _ in range(20):
        h = keras.layers.Dense(8, "tanh")(h)
    model = keras.Model(ids, keras.layers.LSTM(4)(h))
    references, alive = [], []

    def handler(step, args, kwargs):
        outputs = infer(step, args, kwargs)
        if step.kind == "Dense":
            # A list of weak references: TensorFlow's tensors compare by value, so a WeakSet does not work.
            references.append(weakref.ref(outputs))
            alive.append(sum(reference() is not None for reference in references))
        return outputs

    x = ops.convert_to_tensor(np.ones((3, 6), "int32"))
    replay(trace(model, x), x, handler)
    assert len(alive) == 20
    assert max(alive) <= 3


def test_compute_normalizes_by_the_batch_and_drops_nothing():
    x = keras.Input((6,))
    h = keras.layers.Dropout(0.9)(keras.layers.BatchNormalization()(x))
    model = keras.Model(x, h)
    graph = trace(model, batch=256)
    shifted = noise(graph, 256, 0) * 3.0 + 5.0
    out = ops.convert_to_numpy(replay(graph, shifted, compute)[0])
    assert abs(out.mean()) < 1e-3
    assert abs(out.std() - 1) < 1e-2


@pytest.mark.one_backend
def test_a_compiled_replay_knows_the_shapes_that_were_traced():
    tf = pytest.importorskip("tensorflow")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Rescaling(2.0), keras.layers.Dense(2)])
    arriving = []

    def handler(step, args, kwargs):
        if step.kind == "Rescaling":
            # The number of rows depends on values, so the compiled computation does not know it.
            return tf.boolean_mask(args[0], args[0][:, 0] > 0)
        if step.kind == "Dense":
            arriving.append(tuple(args[0].shape))
        return compute(step, args, kwargs)

    graph = trace(model, np.ones((5, 3), "float32"))
    tf.function(lambda x: replay(graph, x, handler))(tf.ones((5, 3)))
    assert arriving == [(5, 3)]
