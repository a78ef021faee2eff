"""Check the ends of residual branches: seen in the graph, or declared by a role."""

import keras
import pytest
from keras import layers, ops

import keras_initx
from keras_initx import InitxError, initialize
from keras_initx._graph.context import weight_contexts
from keras_initx._graph.trace import trace


def test_roles_stand_above_classes():
    with pytest.raises(InitxError, match=r"^role: .*a class of layers"):
        keras_initx.role("gate")(layers.Dense(3))
    with pytest.raises(InitxError, match=r"^role: received 'Own'.*@role"):

        @keras_initx.role
        class Own(layers.Dense):
            pass


@keras_initx.role("residual_end")
class End(layers.Dense):
    """Its result is added where the graph does not show it."""


def test_declared_ends_count_as_sums():
    x = inputs = keras.Input((8,))
    x = x + layers.Dense(8, name="seen")(layers.Dense(8, activation="tanh")(x))
    for number in range(3):
        x = End(8, name=f"end{number}")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = {site.path: site for site in weight_contexts(trace(model)).values()}
    assert {site.residuals for site in found.values()} == {4}
    numbers = {path: site.residual_number for path, site in found.items() if site.residual_number}
    assert numbers == {"seen": 1, "end0": 2, "end1": 3, "end2": 4}
    rows = {row.path: row for row in initialize(model, "residual", seed=0).rows}
    assert rows["end1/kernel"].target == pytest.approx(0.5)


def test_a_sum_after_a_declared_end_comes_after_it():
    inputs = keras.Input((8,))
    x = End(8, name="end")(inputs)
    x = x + layers.Dense(8, name="seen")(layers.Dense(8, activation="tanh")(x))
    found = weight_contexts(trace(keras.Model(inputs, layers.Dense(2)(x)))).values()
    assert {s.path: s.residual_number for s in found if s.residual_number} == {"end": 1, "seen": 2}
    assert {s.residuals for s in found} == {2}


@keras_initx.role("residual_end")
class Branches(layers.Layer):
    """Two branches whose sum is added where the graph does not show it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, activation="tanh", name="first")
        self.ends = [layers.Dense(8, name="left"), layers.Dense(8, name="right")]

    def call(self, x):
        x = self.first(x)
        return self.ends[0](x) + self.ends[1](x)


def test_a_role_above_a_composite_layer_is_that_of_its_last_weights():
    inputs = keras.Input((8,))
    x = Branches(name="one")(inputs)
    x = Branches(name="two")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = {s.path: s for s in weight_contexts(trace(model)).values()}
    numbers = {path: s.residual_number for path, s in found.items() if "residual_end" in s.roles}
    assert numbers == {"one/left": 1, "one/right": 1, "two/left": 2, "two/right": 2}
    assert {s.residuals for s in found.values()} == {2}
    plan = initialize(model, "residual", seed=0)
    targets = {row.path: row.target for row in plan.rows}
    assert [path for path, target in targets.items() if target == pytest.approx(0.5**0.5)] == [
        "one/left/kernel", "one/right/kernel", "two/left/kernel", "two/right/kernel",
    ]  # fmt: skip


@keras_initx.role("residual_end")
class Excited(layers.Layer):
    """Squeeze and excite: a signal, and a gate that multiplies it; and something beside."""

    def __init__(self, beside=False, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, activation="tanh", name="first")
        self.signal = layers.Dense(8, name="signal")
        self.gate = layers.Dense(8, activation="sigmoid", name="gate")
        self.beside = layers.Dense(3, name="beside") if beside else None

    def call(self, x):
        y = self.signal(self.first(x))
        y = y * self.gate(y)
        return y if self.beside is None else (y, self.beside(y))


def test_a_declared_role_is_that_of_the_signal_and_not_of_its_gate():
    inputs = keras.Input((8,))
    first, beside = Excited(True, name="a")(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(Excited(name="b")(first)), beside])
    found = weight_contexts(trace(model)).values()
    numbers = {s.path: s.residual_number for s in found if "residual_end" in s.roles}
    assert numbers == {"a/signal": 1, "b/signal": 2}


@keras_initx.role("residual_end")
class Twice(layers.Layer):
    """Gated twice, and returned beside a head of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(8, name=n) for n in ("signal", "gate1", "gate2")]
        self.head = layers.Dense(3, name="aux")

    def call(self, x):
        y = self.parts[0](x)
        for gate in self.parts[1:]:
            y = y * ops.sigmoid(gate(y))
        return {"y": y, "aux": self.head(y)}


def test_two_gates_and_a_head_beside():
    h = inputs = keras.Input((8,))
    heads = []
    for number in range(2):
        out = Twice(name=f"b{number}")(h)
        h = h + out["y"]
        heads.append(out["aux"])
    found = list(weight_contexts(trace(keras.Model(inputs, [layers.Dense(2)(h), *heads]))).values())
    numbers = {s.path: s.residual_number for s in found if "residual_end" in s.roles}
    assert numbers == {"b0/signal": 1, "b1/signal": 2}
    assert {s.residuals for s in found} == {2}


def test_a_declared_end_whose_sum_is_seen_counts_once():
    x = inputs = keras.Input((8,))
    for number in range(2):
        x = x + Excited(name=f"block{number}")(x)
    found = list(weight_contexts(trace(keras.Model(inputs, layers.Dense(2)(x)))).values())
    assert {s.residuals for s in found} == {2}
    numbers = {s.path: s.residual_number for s in found if s.residual_number}
    assert numbers == {"block0/signal": 1, "block1/signal": 2}
