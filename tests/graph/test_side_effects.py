"""Layers whose `call` does more than return a result: they are opened, and nothing happens to their state."""

import threading

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import diagnose, initialize
from keras_initx._graph import trace
from keras_initx._graph.side_effects import held_back

pytestmark = pytest.mark.check


class Block(layers.Layer):
    """Two Dense layers; a subclass does something else on the way."""

    def build(self, shape):
        self.first, self.second = layers.Dense(8, activation="relu"), layers.Dense(8)
        self.first.build(shape)
        self.second.build((None, 8))

    def call(self, x):
        h = self.first(x)
        self.aside(h)
        return self.second(h)

    def aside(self, h):
        pass


class AddsLoss(Block):
    def aside(self, h):
        self.add_loss(ops.mean(ops.square(h)))
        self.add_loss([ops.sum(h), ops.max(h)])


class Assigns(Block):
    def build(self, shape):
        super().build(shape)
        self.mean = self.add_weight(shape=(8,), initializer="ones", trainable=False, name="mean")
        # No weight of the model, so no snapshot would restore it.
        self.hidden = [keras.Variable(3.0, trainable=False)]

    def aside(self, h):
        self.mean.assign(0.9 * self.mean + 0.1 * ops.mean(h, axis=0))
        self.mean.assign_sub(ops.mean(h, axis=0))
        self.hidden[0].assign_add(1.0)


class Meters(Block):
    def build(self, shape):
        super().build(shape)
        self.meter = keras.metrics.Mean()
        self.areas = keras.metrics.AUC()

    def aside(self, h):
        self.meter.update_state(h)
        self.areas.update_state(h > 0, ops.sigmoid(h))


SIDE_EFFECTS = [AddsLoss, Assigns, Meters]


def model_of(block, count=2):
    x = keras.Input((8,))
    h = x
    for n in range(count):
        h = block(name=f"block{n}")(h)
    return keras.Model(x, layers.Dense(3, name="out")(h))


class TestTheLayerIsOpened:
    @pytest.mark.parametrize("block", SIDE_EFFECTS)
    def test_the_graph_is_the_graph_without_them(self, block):
        graph = trace(model_of(block))
        assert graph.closed == ()
        assert [s.kind for s in graph.steps] == [s.kind for s in trace(model_of(Block)).steps]

    @pytest.mark.parametrize("block", SIDE_EFFECTS)
    def test_the_plan_is_the_plan_without_them(self, block):
        plans = [initialize(model_of(b, 4), seed=0) for b in (block, Block)]
        rows = [[(r.roles, r.method, r.depth, r.target) for r in plan.rows] for plan in plans]
        assert rows[0] == rows[1]
        assert len(diagnose(model_of(block)).rows) == 5

    def test_a_layer_that_only_a_loss_reads_is_drawn(self):
        class Auxiliary(Block):
            def build(self, shape):
                super().build(shape)
                self.head = layers.Dense(2, name="head")
                self.head.build((None, 8))

            def aside(self, h):
                self.add_loss(ops.mean(ops.square(self.head(h))))

        graph = trace(model_of(Auxiliary, 1))
        assert [s.kind for s in graph.steps].count("Dense") == 4
        assert not {"Square", "Mean"} & {s.kind for s in graph.steps}
        plan = initialize(model_of(Auxiliary, 1), seed=0)
        assert [row.method for row in plan.rows if "head" in row.path] == ["variance"]


class TestNothingIsExecuted:
    @pytest.mark.parametrize("function", [trace, initialize, diagnose])
    def test_assignments(self, function):
        model = model_of(Assigns)
        block = model.get_layer("block0")
        before = float(block.hidden[0].value)
        function(model)
        assert np.all(ops.convert_to_numpy(block.mean) == 1)
        assert float(block.hidden[0].value) == before

    @pytest.mark.parametrize("function", [trace, initialize, diagnose])
    def test_losses(self, function):
        model = model_of(AddsLoss)
        model(np.ones((2, 8), "float32"))
        before = [float(loss) for loss in model.losses]
        assert len(before) == 6
        function(model)
        assert [float(loss) for loss in model.losses] == before

    @pytest.mark.parametrize("function", [trace, initialize, diagnose])
    def test_metrics(self, function):
        model = model_of(Meters)
        block = model.get_layer("block0")
        block.meter.reset_state()
        block.meter.update_state([5.0])
        function(model)
        assert float(block.meter.result()) == 5
        block.meter.update_state([7.0])
        assert float(block.meter.result()) == 6

    def test_a_closed_layer_leaves_no_trace_either(self):
        class Closed(Meters):
            def aside(self, h):
                if isinstance(h, keras.KerasTensor):
                    raise TypeError("no symbolic form")
                super().aside(h)
                self.add_loss(ops.sum(h))

            def compute_output_spec(self, x):
                return keras.KerasTensor((*x.shape[:-1], 8), x.dtype)

        model = model_of(Closed, 1)
        block = model.get_layer("block0")
        block.meter.reset_state()
        block.meter.update_state([5.0])
        plan = initialize(model, seed=0)
        assert plan.closed == ("block0",)
        assert plan.summary().endswith("; not opened: block0")
        assert float(block.meter.result()) == 5
        assert model.losses == []
        report = diagnose(model)
        assert report.closed == ("block0",)
        assert "not opened: block0." in report.summary()
        assert report.healthy


class TestHeldBack:
    def test_other_threads_go_on(self):
        variable, model = keras.Variable(1.0), model_of(Meters, 1)
        meter = model.get_layer("block0").meter
        meter.reset_state()

        def change():
            variable.assign(2.0)
            meter.update_state([4.0])

        with held_back(model):
            variable.assign(9.0)
            meter.update_state([9.0])
            other = threading.Thread(target=change)
            other.start()
            other.join()
        assert float(variable.value) == 2
        assert float(meter.result()) == 4

    def test_all_is_put_back_after_an_error(self):
        before = keras.Layer.add_loss, keras.Variable.assign
        model = model_of(Meters, 1)
        with pytest.raises(RuntimeError), held_back(model):
            raise RuntimeError
        assert (keras.Layer.add_loss, keras.Variable.assign) == before
        assert "update_state" not in vars(model.get_layer("block0").meter)


@pytest.mark.one_backend
def test_text_inside_a_layer():
    class Reader(layers.Layer):
        def __init__(self):
            super().__init__(name="reader")
            self.split = layers.TextVectorization(max_tokens=20, output_sequence_length=6)
            self.split.adapt(["the plant is dry", "water the green plant"])
            self.table = layers.Embedding(20, 8)

        def build(self, shape):
            self.table.build(None)

        def call(self, text):
            return self.table(self.split(text))

        def compute_output_spec(self, text):
            return keras.KerasTensor((text.shape[0], 6, 8), "float32")

    text = ops.convert_to_tensor([["the plant"], ["dry soil"]] * 8)
    x = keras.Input((1,), dtype="string")
    h = layers.GlobalAveragePooling1D()(Reader()(x))
    model = keras.Model(x, layers.Dense(1, activation="sigmoid")(h))
    plan = initialize(model, data=text, seed=0)
    assert plan.closed == ()
    assert [row.kind for row in plan.rows] == ["Embedding", "Dense"]
    labels = np.array([0.0, 1.0] * 8, "float32")
    assert len(diagnose(model, text, labels, loss="binary_crossentropy").rows) == 2
