import operator

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph import trace
from keras_initx._graph.operators import operators_for_tensors

pytestmark = pytest.mark.check

LEFT = {
    "variable": lambda: keras.Variable(np.ones((3, 3), "float32")),
    "numpy": lambda: np.ones((3, 3), "float32"),
    "tensor": lambda: ops.ones((3, 3)),
}
OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul]


class TestOperators:
    @pytest.mark.parametrize("left", LEFT)
    @pytest.mark.parametrize("apply", OPERATORS)
    def test_on_the_left_of_a_symbolic_tensor(self, left, apply):
        with operators_for_tensors():
            result = apply(LEFT[left](), keras.KerasTensor((3, 3)))
        assert isinstance(result, keras.KerasTensor)
        assert result.shape == (3, 3)

    @pytest.mark.parametrize("left", LEFT)
    def test_the_layer_is_opened(self, left):
        class Left(layers.Layer):
            def __init__(self):
                super().__init__()
                self.left = LEFT[left]()
                self.inner = layers.Dense(3)

            def build(self, shape):
                self.inner.build(shape)

            def call(self, x):
                return self.inner(self.left[:1] * x)

            def compute_output_spec(self, x):
                return keras.KerasTensor(x.shape, x.dtype)

        x = keras.Input((3,))
        assert trace(keras.Model(x, Left()(x))).closed == ()

    def test_all_is_put_back(self):
        before = [dict(vars(cls)) for cls in (keras.Variable, keras.KerasTensor)]
        with operators_for_tensors():
            pass
        with operators_for_tensors():
            pass
        after = [dict(vars(cls)) for cls in (keras.Variable, keras.KerasTensor)]
        assert before[1] == after[1]
        assert {name: after[0][name] for name in before[0]} == before[0]
