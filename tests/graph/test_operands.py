import operator

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import diagnose, initialize
from keras_initx._graph import trace
from keras_initx._graph.operands import WeightSources, operators_for_tensors

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


class Masked(keras.layers.Dense):
    """Dense layer whose kernel is multiplied by a mask, as in masked autoencoders."""

    def __init__(self, units, mask, **options):
        super().__init__(units, **options)
        self.mask = mask

    def call(self, x):
        return self.activation(ops.matmul(x, self.kernel * self.mask) + self.bias)


def _triangle(rows, columns):
    """Return the mask of a masked autoencoder, whose first row leaves a kernel as it is."""
    return (np.arange(rows)[:, None] <= np.arange(columns) * rows / columns).astype("float32")


@pytest.fixture
def masked():
    keras.utils.set_random_seed(0)
    layers = [Masked(200, _triangle(100, 200), activation="relu"), Masked(50, 1 - _triangle(200, 50))]
    return keras.Sequential([keras.Input((100,)), *layers])


def test_a_layer_that_multiplies_its_kernel_with_a_mask_is_one_step(masked):
    graph = trace(masked)
    kernels = [step.kernels for step in graph.steps if step.kernels]
    assert [step.kind for step in graph.steps if step.kernels] == ["Masked", "Masked"]
    assert [[v.path for v in step] for step in kernels] == [[layer.kernel.path] for layer in masked.layers]


class Biased(keras.layers.Layer):
    """Product of two kernels with a bias for each pair of places, whose values are looked up for each."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]), name="kernel")
        self.table = self.add_weight(shape=(2 * shape[-1], 3), name="table")

    def call(self, x):
        bias = ops.sum(ops.take(self.table, np.arange(x.shape[-1]), axis=0), axis=1)
        return ops.matmul(x, self.kernel) + bias


def test_a_weight_that_is_only_added_keeps_no_layer_closed():
    model = keras.Sequential([keras.Input((8,)), Biased()])
    assert trace(model).closed == ()


def test_its_masked_product_is_scaled(masked):
    initialize(masked, seed=0)
    x = np.random.default_rng(0).normal(size=(2000, 100)).astype("float32")
    for layer in masked.layers:
        product = x @ (ops.convert_to_numpy(layer.kernel) * layer.mask) + ops.convert_to_numpy(layer.bias)
        # Noise of a few hundred samples; without the mask it would be 1.4 times this.
        assert np.sqrt(np.mean(product**2)) == pytest.approx(1, rel=0.1)
        x = ops.convert_to_numpy(layer.activation(product))


def test_its_kernel_has_a_gradient(masked):
    x = np.random.default_rng(0).normal(size=(32, 100)).astype("float32")
    report = diagnose(masked, x, np.ones((32, 50), "float32"), "mse")
    assert report.healthy
    assert all(row.kernel_gradient > 0 for row in report.rows)


def test_rows_of_a_table_come_from_it_and_other_values_do_not(masked):
    sources = WeightSources(masked)
    kernel = masked.layers[0].kernel
    values = ops.convert_to_tensor(kernel)
    mask = ops.convert_to_tensor(masked.layers[0].mask)
    for made in (values[:7], values[None], ops.flip(values, axis=0), ops.transpose(values), values[3]):
        assert sources.source(made) is kernel
    for made in (values * mask, values * 2, ops.zeros((3, 200))):
        assert sources.source(made) is None
