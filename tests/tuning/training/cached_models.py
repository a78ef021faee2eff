"""The model, the data and the caches of the tests of `CompiledModels`."""

from typing import Any

import keras
import numpy as np
from keras_initx.tuning._variables import optimizer_state, values_of
from keras_initx.tuning.data import Batch
from keras_initx.tuning.training.model_cache import CompiledModels

L = keras.layers
X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("int32")
SAMPLE = Batch.of_arrays(X[:8], Y[:8])


def build(
    optimizer: Any = None,
    *,
    rate: float = 0.01,
    initializer: str = "glorot_uniform",
    activation: Any = "relu",
    drop: float = 0.3,
    loss: Any = "sparse_categorical_crossentropy",
    regularizer: Any = None,
    momentum: float = 0.9,
    dtype: Any = None,
    name: str | None = None,
    frozen: bool = False,
    units: int = 6,
) -> keras.Model:
    inputs = keras.Input((4,))
    hidden = L.Dense(
        units,
        activation=activation,
        kernel_initializer=initializer,
        kernel_regularizer=regularizer,
        name=name,
        trainable=not frozen,
        dtype=dtype,
    )
    x = L.BatchNormalization(momentum=momentum)(hidden(inputs))
    x = L.Dropout(drop)(x)
    outputs = L.Dense(2, activation="softmax", dtype="float32", kernel_initializer=initializer)(x)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer or keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


class Unprepared(CompiledModels):
    """A cache that skips the training step of a new model, for tests of which models are the same."""

    def __init__(self, capacity: int = 16) -> None:
        super().__init__(jit_compile=False, sample=SAMPLE, capacity=capacity)

    def _prepare(self, model: keras.Model) -> list[np.ndarray]:
        model.optimizer.build(model.trainable_variables)
        return values_of(optimizer_state(model.optimizer))


def plain() -> CompiledModels:
    return CompiledModels(jit_compile=False, sample=SAMPLE)
