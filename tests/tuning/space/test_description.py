"""The description of a model says everything but its names and its weights."""

from typing import Any

import keras
import pytest
from keras_initx.tuning.space.description import described, slots, variable_of

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

L = keras.layers


class Block(L.Layer):
    """A layer of the user's, whose attributes may be anything."""

    def __init__(self, initializer: str = "zeros", rate: float = 0.5, thing: Any = None) -> None:
        super().__init__()
        self.initializer, self.rate, self.thing = initializer, rate, thing
        self.dense = L.Dense(2, kernel_initializer=initializer)

    def call(self, x: Any) -> Any:
        return self.dense(x)


def model_of(
    block: dict[str, Any] | None = None, units: int = 3, operation: Any = keras.ops.tanh, **compiled: Any
) -> keras.Model:
    x = keras.Input((4,))
    h = L.Dense(units, kernel_initializer=keras.initializers.HeNormal())(x)
    model = keras.Model(x, operation(Block(**(block or {}))(h)))
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


def test_two_builds_of_one_model_have_the_same_description() -> None:
    # Names, seeds and addresses differ.
    first, second = (model_of({"thing": object()}) for _ in range(2))
    assert first.name != second.name
    assert described(first) == described(second)


@pytest.mark.parametrize(
    "change",
    [
        {"units": 5},
        {"operation": keras.ops.relu},
        {"loss": "mae"},
        {"metrics": ["mae"]},
        {"block": {"rate": 0.25}},
        {"block": {"thing": keras.activations.relu}},
    ],
    ids=["units", "operation", "loss", "metric", "attribute", "function"],
)
def test_the_rest(change: Any) -> None:
    before, after = described(model_of()), described(model_of(**change))
    assert before.rest != after.rest
    assert (before.initializers, before.training) == (after.initializers, after.training)


def test_an_attribute_that_contains_itself() -> None:
    block = Block(thing={"level": 1})
    block.thing["again"] = block.thing
    model = keras.Sequential([keras.Input((4,)), block])
    before = described(model)
    assert before == described(model)
    block.thing["level"] = 2
    assert before.rest != described(model).rest


def test_an_initializer_is_no_part_of_the_rest() -> None:
    before, after = described(model_of()), described(model_of({"initializer": "ones"}))
    assert (before.rest, before.training) == (after.rest, after.training)
    changed = [slot for slot in before.initializers if before.initializers[slot] != after.initializers[slot]]
    assert [(slot.kind, slot.stem) for slot in changed] == [("Dense", "kernel")]


def test_the_optimizer() -> None:
    before = described(model_of()).training
    rate = described(model_of(optimizer=keras.optimizers.SGD(0.25))).training
    momentum = described(model_of(optimizer=keras.optimizers.SGD(momentum=0.5))).training
    assert {name for name in before if before[name] != rate[name]} == {"learning_rate"}
    assert {name for name in before if before[name] != momentum[name]} == {"optimizer"}


def test_the_weight_of_a_slot() -> None:
    layers = [L.SeparableConv1D(2, 2), L.DepthwiseConv1D(2), L.LSTM(3), L.Dense(1, use_bias=False)]
    model = keras.Sequential([keras.Input((9, 4)), *layers])
    found = [(slot.kind, slot.stem, variable_of(layer, slot.stem)) for slot, layer, _ in slots(model)]
    names = {(kind, stem): getattr(variable, "name", None) for kind, stem, variable in found}
    assert names["SeparableConv1D", "pointwise"] == "pointwise_kernel"
    assert names["DepthwiseConv1D", "depthwise"] == "kernel"
    assert names["LSTM", "recurrent"] is None
    assert names["LSTMCell", "recurrent"] == "recurrent_kernel"
    assert names["Dense", "bias"] is None
    kernels = {id(v) for _, stem, v in found if v is not None and stem != "bias"}
    assert kernels == {id(v) for v in model.weights if "kernel" in v.name}
