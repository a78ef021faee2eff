"""Layers of users that the trace cannot open."""

import keras
from keras import layers, ops


class Closed(layers.Layer):
    """An opaque layer: it converts its tensors to NumPy arrays."""

    def __init__(self):
        super().__init__()
        self.inner = OwnActivated(name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        ops.convert_to_numpy(x)
        return self.inner(y=x)

    def compute_output_spec(self, x):
        return keras.KerasTensor((*x.shape[:-1], 6), dtype=self.compute_dtype)


class OwnActivated(layers.Layer):
    """A user's layer that applies an activation to the product with its kernel."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.tanh

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 6), name="kernel")
        self.bias = self.add_weight(shape=(6,), initializer=keras.initializers.Constant(0.1), name="bias")

    def call(self, x=None, y=None):
        return self.activation(ops.matmul(x if y is None else y, self.kernel) + self.bias)
