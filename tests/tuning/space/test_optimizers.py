"""Test the optimizer as a hyperparameter."""

from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning.space.optimizers import known_optimizers, set_optimizer

from keras_initx import InitxError


def compiled(optimizer: Any = None, policy: str | None = None) -> keras.Model:
    layer = keras.layers.Dense(1, dtype=policy)
    model = keras.Sequential([keras.Input((2,)), layer])
    model.compile(optimizer or keras.optimizers.Adam(0.01, clipnorm=1.0, beta_1=0.5), "mse")
    return model


@pytest.mark.parametrize("name", known_optimizers())
def test_each_optimizer_trains_and_keeps_what_all_have(name: str) -> None:
    model = compiled(keras.optimizers.SGD(0.003, clipvalue=2.0, weight_decay=0.25))
    set_optimizer(model, name)
    assert type(model.optimizer).__name__.lower() == name
    settings = model.optimizer.get_config()
    assert settings["learning_rate"] == pytest.approx(0.003)
    assert (settings["clipvalue"], settings["weight_decay"]) == (2.0, 0.25)
    before = model.get_weights()
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    assert not np.allclose(before[0], model.get_weights()[0])


def test_what_one_optimizer_has_alone_is_kerass_default() -> None:
    model = compiled()
    set_optimizer(model, "adam")
    assert (model.optimizer.beta_1, model.optimizer.clipnorm) == (keras.optimizers.Adam().beta_1, 1.0)
    set_optimizer(model, "adamw")
    # Adam without a decay says nothing about AdamW's.
    assert model.optimizer.weight_decay == keras.optimizers.AdamW().weight_decay


def test_own_changes_nothing() -> None:
    model = compiled()
    optimizer = model.optimizer
    set_optimizer(model, "own")
    assert model.optimizer is optimizer


def test_a_schedule_is_kept() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model = compiled(keras.optimizers.Adam(schedule))
    set_optimizer(model, "sgd")
    kept = model.optimizer.get_config()["learning_rate"]
    assert kept == keras.optimizers.schedules.serialize(schedule)


def test_a_loss_that_is_scaled_stays_scaled() -> None:
    own = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=8.0)
    model = compiled(own)
    set_optimizer(model, "sgd")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert type(model.optimizer.inner_optimizer) is keras.optimizers.SGD
    assert model.optimizer.initial_scale == 8.0


def test_a_search_chooses_among_them(quick: Any) -> None:
    result = quick(
        optimizers=["own", "sgd"],
        learning_rates=None,
        initializers=["own"],
        tuner="grid",
        trials=None,
        seeds=1,
    )
    assert {t.values["optimizer"] for t in result.trials} == {"own", "sgd"}
    # The start is the same, so that the first steps of the two optimizers are all that differs.
    assert len({t.seeds[0]["curves"]["loss"][0] for t in result.trials}) == 2
    name = {"own": "Adam", "sgd": "SGD"}[result.best.values["optimizer"]]
    assert type(result.best_model().optimizer).__name__ == name


@pytest.mark.parametrize("names", [["adm"], [], ["sgd", "sgd"], 3])
def test_refused(quick: Any, names: Any) -> None:
    with pytest.raises(InitxError, match=r"^`optimizers` (must be|.adm. is not known\. Did you mean .adam.)"):
        quick(optimizers=names)


def test_a_saved_model_has_the_optimizer_that_trained_it(tmp_path: Any) -> None:
    model = compiled()
    set_optimizer(model, "sgd")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(loaded.optimizer, keras.optimizers.SGD)
    assert int(loaded.optimizer.iterations) == 1
