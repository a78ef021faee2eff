"""The model that was screened is the one that is trained, also where no model is used twice."""

from typing import Any

import keras
import pytest
from keras_initx.tuning.training.model_cache import CompiledModels

pytestmark = pytest.mark.one_backend


class Noisy(keras.layers.Layer):
    """A layer of the user's own, whose config tells nothing: its model is never used for another."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.drop = keras.layers.Dropout(0.3)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.drop(x, training=training)


def build(width: int = 8) -> keras.Model:
    layers = [keras.layers.Dense(width, "relu"), keras.layers.BatchNormalization(), Noisy()]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, activation="softmax")])
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 5, 0.9)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture
def prepared(monkeypatch: Any) -> list[keras.Model]:
    """The models that were compiled."""
    true, made = CompiledModels._prepare, []

    def counted(models: CompiledModels, model: keras.Model) -> Any:
        made.append(model)
        return true(models, model)

    monkeypatch.setattr(CompiledModels, "_prepare", counted)
    return made


def curves(result: Any) -> list[Any]:
    return [[record["curves"] for record in trial.seeds.values()] for trial in result.trials]


def test_screening_compiles_no_second_model_and_changes_no_history(
    quick: Any, prepared: list[keras.Model], tmp_path: Any
) -> None:
    options = {"model": build, "learning_rates": None, "trials": 2, "seeds": 2, "tuner": "random"}
    screened = quick(**options, results=tmp_path / "screened", logs=tmp_path / "1")
    assert len(prepared) == 2 * 2
    plain = quick(**options, results=tmp_path / "plain", logs=tmp_path / "2", screening=False)
    assert len(prepared) == 2 * 2 * 2
    assert curves(screened) == curves(plain)


def test_a_build_that_never_makes_the_same_has_no_twin(prepared: list[keras.Model]) -> None:
    import numpy as np

    sample = np.zeros((6, 4), "float32"), np.zeros(6, int)
    models = CompiledModels(False, sample)
    twin = models.adopt(build(8))
    other = build(9)
    assert models.adopt(other, twin) is other
    assert models.adopt(build(8), twin) is twin
    assert len(prepared) == 2
