"""Check the ends of residual branches: seen in the graph, or declared by a role."""

import keras
import pytest
from keras import layers, ops

import keras_initx
from keras_initx import InitxError, initialize
from keras_initx._graph.context import weight_contexts
from keras_initx._graph.trace import trace
from tests.support import zoo
from tests.support.arrays import array
from tests.support.chains import chain

pytestmark = pytest.mark.check


def test_roles_decorate_classes():
    with pytest.raises(InitxError, match=r"^`role` decorates a layer class, not <Dense"):
        keras_initx.role("gate")(layers.Dense(3))
    with pytest.raises(InitxError, match=r"^`role` must be .*got 'Own'.*@role"):

        @keras_initx.role
        class Own(layers.Dense):
            pass


@keras_initx.role("residual_end")
class End(layers.Dense):
    """A layer whose output is added where the graph does not show it."""


def test_declared_ends_count_as_sums():
    x = inputs = keras.Input((8,))
    x = x + layers.Dense(8, name="seen")(layers.Dense(8, activation="tanh")(x))
    for number in range(3):
        x = End(8, name=f"end{number}")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    contexts = {context.path: context for context in weight_contexts(trace(model)).values()}
    assert {context.residuals for context in contexts.values()} == {4}
    numbers = {path: context.residual_number for path, context in contexts.items() if context.residual_number}
    assert numbers == {"seen": 1, "end0": 2, "end1": 3, "end2": 4}
    rows = {row.path: row for row in initialize(model, "residual", seed=0).rows}
    assert rows["end1/kernel"].target == pytest.approx(0.5)


def test_a_sum_after_a_declared_end_comes_after_it():
    inputs = keras.Input((8,))
    x = End(8, name="end")(inputs)
    x = x + layers.Dense(8, name="seen")(layers.Dense(8, activation="tanh")(x))
    contexts = weight_contexts(trace(keras.Model(inputs, layers.Dense(2)(x)))).values()
    assert {s.path: s.residual_number for s in contexts if s.residual_number} == {"end": 1, "seen": 2}
    assert {s.residuals for s in contexts} == {2}


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


def test_the_role_of_a_composite_layer_goes_to_its_last_weights():
    inputs = keras.Input((8,))
    x = Branches(name="one")(inputs)
    x = Branches(name="two")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    contexts = {s.path: s for s in weight_contexts(trace(model)).values()}
    numbers = {path: s.residual_number for path, s in contexts.items() if "residual_end" in s.roles}
    assert numbers == {"one/left": 1, "one/right": 1, "two/left": 2, "two/right": 2}
    assert {s.residuals for s in contexts.values()} == {2}
    plan = initialize(model, "residual", seed=0)
    # The four ends together add the variance of one: two sums, with two results each.
    targets = {row.path: row.target for row in plan.rows}
    assert [path for path, target in targets.items() if target == pytest.approx(0.5)] == [
        "one/left/kernel", "one/right/kernel", "two/left/kernel", "two/right/kernel",
    ]  # fmt: skip


@keras_initx.role("residual_end")
class Excited(layers.Layer):
    """Squeeze and excite: a signal, a gate that multiplies it, and an optional second output."""

    def __init__(self, second=False, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, activation="tanh", name="first")
        self.signal = layers.Dense(8, name="signal")
        self.gate = layers.Dense(8, activation="sigmoid", name="gate")
        self.second = layers.Dense(3, name="second") if second else None

    def call(self, x):
        y = self.signal(self.first(x))
        y = y * self.gate(y)
        return y if self.second is None else (y, self.second(y))


def test_a_declared_role_goes_to_the_signal_and_not_to_its_gate():
    inputs = keras.Input((8,))
    first, second = Excited(True, name="a")(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(Excited(name="b")(first)), second])
    contexts = weight_contexts(trace(model)).values()
    numbers = {s.path: s.residual_number for s in contexts if "residual_end" in s.roles}
    assert numbers == {"a/signal": 1, "b/signal": 2}


@keras_initx.role("residual_end")
class Twice(layers.Layer):
    """A signal that is gated twice, returned with a head of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(8, name=n) for n in ("signal", "gate1", "gate2")]
        self.head = layers.Dense(3, name="aux")

    def call(self, x):
        y = self.parts[0](x)
        for gate in self.parts[1:]:
            y = y * ops.sigmoid(gate(y))
        return {"y": y, "aux": self.head(y)}


def test_two_gates_and_a_second_head():
    h = inputs = keras.Input((8,))
    heads = []
    for number in range(2):
        out = Twice(name=f"b{number}")(h)
        h = h + out["y"]
        heads.append(out["aux"])
    contexts = list(weight_contexts(trace(keras.Model(inputs, [layers.Dense(2)(h), *heads]))).values())
    numbers = {s.path: s.residual_number for s in contexts if "residual_end" in s.roles}
    assert numbers == {"b0/signal": 1, "b1/signal": 2}
    assert {s.residuals for s in contexts} == {2}


def test_a_declared_end_whose_sum_is_seen_counts_once():
    x = inputs = keras.Input((8,))
    for number in range(2):
        x = x + Excited(name=f"block{number}")(x)
    contexts = list(weight_contexts(trace(keras.Model(inputs, layers.Dense(2)(x)))).values())
    assert {s.residuals for s in contexts} == {2}
    numbers = {s.path: s.residual_number for s in contexts if s.residual_number}
    assert numbers == {"block0/signal": 1, "block1/signal": 2}


class TestResidual:
    def test_the_factor_counts_the_sums(self):
        model = zoo.residual_cnn(normalized=False, blocks=5)
        plan = initialize(model, "residual", seed=0)
        ends = [row for row in plan.rows if "residual_end" in row.roles]
        assert [row.rms_after for row in ends] == pytest.approx([5**-0.5] * 5)
        assert any("5 kernels end a residual branch" in note for note in plan.notes)
        per_layer = initialize(model, "residual_per_layer", seed=0).rows
        ends = [row.rms_after for row in per_layer if "residual_end" in row.roles]
        assert ends == pytest.approx([n**-0.5 for n in range(1, 6)])

    def test_a_normalization_between_takes_the_factor(self):
        model = zoo.residual_cnn(normalized=True, blocks=4)
        initialize(model, "residual", seed=0)
        gammas = [float(array(x.gamma)[0]) for x in model.layers if hasattr(x, "gamma")]
        assert sorted(gammas) == pytest.approx([0.5] * 4 + [1.0] * 5)

    def test_a_model_without_sums_is_an_error(self):
        with pytest.raises(
            InitxError, match=r"^`method='residual'` needs residual sums, but no kernel of the model ends"
        ):
            initialize(chain(4, "relu"), "residual")
