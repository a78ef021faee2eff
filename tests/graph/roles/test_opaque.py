import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx
from keras_initx._graph import end_kernels, trace

pytestmark = pytest.mark.check


class Closed(layers.Layer):
    """A branch that the trace cannot open, as if it called functions of the backend; `out` comes last."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # Not in the order of the calls.
        self.out = layers.Dense(16, name="out")
        self.first, self.second = layers.Dense(32, name="first"), layers.Dense(32, name="second")

    def build(self, shape):
        self.out.build((*shape[:-1], 32))
        self.first.build(shape)
        self.second.build(shape)

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise TypeError("no tensor of the backend")
        return self.out(ops.relu(self.first(x)) * self.second(x))

    def compute_output_shape(self, shape):
        return shape


def model_of(layer):
    x = y = keras.Input((16,))
    for number in range(4):
        y = y + layer(name=f"branch{number}")(layers.LayerNormalization()(y))
    return keras.Model(x, layers.Dense(2)(y))


def test_the_last_called_layer_is_the_end():
    step = next(step for step in trace(model_of(Closed)).steps if step.opaque)
    assert [kernel.path for kernel in end_kernels(step)] == ["branch0/out/kernel"]
    assert len(step.kernels) == 3


def test_all_kernels_if_the_backend_cannot_trace_the_layer(monkeypatch):
    step = next(step for step in trace(model_of(Closed)).steps if step.opaque)

    def fail(x):
        raise TypeError("no values")

    monkeypatch.setattr(step.operation, "call", fail)
    assert end_kernels(step) == step.kernels


def test_only_the_end_is_scaled_down():
    model = model_of(Closed)
    plan = keras_initx.initialize(model, seed=0)
    rows = {row.path: row for row in plan.rows}
    for number in range(4):
        for name in ("first", "second"):
            row = rows[f"branch{number}/{name}/kernel"]
            assert (row.roles, row.method, row.target) == ((), "variance", 1.0)
        end = rows[f"branch{number}/out/kernel"]
        assert (end.roles, end.method, end.target) == (("residual_end",), "residual", 0.5)
    # An independent measurement: the first kernel of a branch reads a normalized stream.
    noise = np.random.default_rng(1).standard_normal((4096, 16))
    noise = (noise - noise.mean(1, keepdims=True)) / noise.std(1, keepdims=True)
    first = np.asarray(model.get_layer("branch0").first.kernel)
    assert np.sqrt(np.mean((noise @ first) ** 2)) == pytest.approx(1, rel=0.1)


class ClosedWithOwn(Closed):
    """A closed branch with a kernel of its own, between the others."""

    def build(self, shape):
        super().build(shape)
        self.own = self.add_weight(name="own", shape=(32, 32), initializer="glorot_uniform")

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise TypeError("no tensor of the backend")
        return self.out(ops.relu(self.first(x)) * ops.matmul(self.second(x), self.own))


def test_an_own_kernel_of_a_closed_layer_is_no_end():
    model = model_of(ClosedWithOwn)
    plan = keras_initx.initialize(model, seed=0)
    rows = {row.path: row for row in plan.rows}
    own, end = rows["branch0/own"], rows["branch0/out/kernel"]
    assert (own.roles, own.method) == ((), "variance")
    assert "output of its layer" in own.reason
    assert (end.roles, end.target) == (("residual_end",), 0.5)
    # The own kernel is scaled by the output, which the end has brought to its target.
    noise = np.random.default_rng(1).standard_normal((4096, 16))
    noise = (noise - noise.mean(1, keepdims=True)) / noise.std(1, keepdims=True)
    branch = ops.convert_to_numpy(model.get_layer("branch0")(noise.astype("float32")))
    assert np.sqrt(np.mean(branch**2)) == pytest.approx(0.5, rel=0.1)
