"""A HyperModel of a user, its model, and chosen hyperparameters."""

from typing import Any

import keras
import keras_tuner

L = keras.layers
NAMES = ["he_normal", "random_uniform"]
RATES = [0.01, 0.02]


def wide(
    units: int = 400, activation: str = "relu", optimizer: Any = "sgd", loss: Any = "mse"
) -> keras.Model:
    inputs = keras.Input((300,))
    model = keras.Model(inputs, L.Dense(3)(L.Dense(units, activation=activation)(inputs)))
    model.compile(optimizer, loss)
    return model


def of_hp(hp: Any) -> keras.Model:
    return wide(hp.Int("units", 400, 500, step=100))


class UsersHyperModel(keras_tuner.HyperModel):
    def build(self, hp: Any) -> keras.Model:
        return of_hp(hp)


def chosen(**values: Any) -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return hp
