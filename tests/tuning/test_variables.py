"""Every variable that training can change is found, once."""

import keras
import numpy as np
import pytest
from keras_initx.tuning._variables import (
    assign,
    checkpoint_bytes,
    every_variable,
    inner_optimizer,
    optimizer_state,
    values_of,
)

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


class Adversarial(keras.Model):
    """A model with an optimizer of its own, and two more in a dictionary and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(2)
        self.by_name = {"critic": keras.optimizers.SGD(momentum=0.9)}
        self.others = [keras.optimizers.Adam(), self.by_name["critic"]]


def test_optimizers_in_attributes_count_once() -> None:
    model = Adversarial()
    model.dense.build((None, 3))
    model.compile("rmsprop", "mse")
    optimizers = [model.optimizer, model.by_name["critic"], model.others[0]]
    for optimizer in optimizers:
        optimizer.build(model.dense.trainable_variables)
    variables = every_variable(model)
    expected = [v for o in optimizers for v in o.variables] + model.variables
    assert {id(v) for v in variables} == {id(v) for v in expected}
    assert len(variables) == len({id(v) for v in variables})


def test_a_loss_scale_and_the_optimizer_inside() -> None:
    inside = keras.optimizers.Adam()
    outside = keras.optimizers.LossScaleOptimizer(inside)
    outside.build([keras.Variable(np.ones(3, "float32"))])
    assert inner_optimizer(outside) is inside
    assert inner_optimizer(inside) is inside
    assert {id(v) for v in optimizer_state(outside)} >= {id(v) for v in inside.variables}


def test_values_come_back() -> None:
    variables = [keras.Variable(np.arange(3.0, dtype="float32")), keras.Variable(2)]
    kept = values_of(variables)
    assign(variables, [np.zeros(3), np.array(5)])
    assert float(keras.ops.sum(variables[0])) == 0
    assign(variables, kept)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variables[0]), [0, 1, 2])
    assert int(variables[1]) == 2


def test_a_weights_file_is_no_larger_than_its_bound(tmp_path: pytest.TempPathFactory) -> None:
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(40)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "model.keras"
    model.save(path)
    assert 30 * 40 * 4 * 3 < path.stat().st_size <= checkpoint_bytes(model)
