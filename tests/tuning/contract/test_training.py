"""Test how a tuner uses its arguments and those of `fit`, and which methods a subclass may override."""

import threading
from pathlib import Path
from typing import Any, ClassVar

import keras
import keras_tuner
import numpy as np
import pytest

from tests.tuning.contract.makers import Maker, compiled, data, search

pytestmark = pytest.mark.one_backend


def units(hp: Any) -> keras.Model:
    return compiled([keras.layers.Dense(hp.Int("units", 2, 9))])


class Counting(keras.callbacks.Callback):
    """Notes how many epochs it saw when a run ends, and the batches of each epoch."""

    ended: ClassVar[list[int]]
    batches: ClassVar[list[int]]

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epochs += 1
        self.batches.append(0)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches[-1] += 1

    def on_train_end(self, logs: Any = None) -> None:
        self.ended.append(self.epochs)


@pytest.fixture(autouse=True)
def counts() -> None:
    Counting.ended, Counting.batches = [], []


def test_compile_arguments_replace_those_of_the_model(make: Maker) -> None:
    options = {"optimizer": keras.optimizers.SGD(0.5), "loss": "mae", "metrics": ["mse"]}
    tuner = search(make(units, objective="val_mse", max_trials=1, **options), **data())
    (model,) = tuner.get_best_models()
    assert float(model.optimizer.learning_rate) == 0.5
    assert model.loss == "mae"
    assert tuner.oracle.get_best_trials()[0].metrics.get_best_value("val_mse") > 0


def test_models_that_are_too_large_fail(make: Maker) -> None:
    with pytest.raises(RuntimeError, match="Oversized model: "):
        search(make(units, objective="val_loss", max_model_size=8), **data())


def test_hooks_are_called(make: Maker) -> None:
    seen: list[Any] = []

    class Hooked:
        def on_epoch_end(self, trial: Any, model: Any, epoch: int, logs: Any = None) -> None:
            seen.append((int(trial.trial_id), epoch, "val_loss" in logs))

        def on_batch_end(self, trial: Any, model: Any, batch: int, logs: Any = None) -> None:
            seen.append(batch)

    search(make(units, objective="val_loss", max_trials=1, mixin=Hooked), **{**data(), "epochs": 2})
    assert seen == [0, (0, 0, True), 0, (0, 1, True)]


def test_each_run_has_copies_of_the_callbacks(make: Maker) -> None:
    own = Counting()
    options = {"objective": "val_loss", "max_trials": 2, "executions_per_trial": 3}
    tuner = search(make(units, **options), **{**data(), "epochs": 2}, callbacks=[own])
    assert (own.epochs, Counting.ended) == (0, [2] * 6)
    assert tuner.executions_per_trial == 3


def test_callbacks_that_cannot_be_copied(make: Maker) -> None:
    callback = Counting()
    callback.lock = threading.Lock()
    with pytest.raises(ValueError, match=r"deep-?copy|copy\.deepcopy"):
        search(make(units, objective="val_loss"), **data(), callbacks=[callback])


def test_tensorboard_writes_into_a_folder_for_each_trial(make: Maker, tmp_path: Path) -> None:
    board = keras.callbacks.TensorBoard(str(tmp_path / "logs"))
    tuner = search(make(units, objective="val_loss", max_trials=2), **data(), callbacks=[board])
    for name in tuner.oracle.trials:
        assert list((tmp_path / "logs" / name).rglob("events.out.tfevents.*"))


def test_run_trial_may_change_the_arguments_of_fit(make: Maker) -> None:
    class Batched:
        """The way in which KerasTuner's users search the batch size."""

        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["batch_size"] = trial.hyperparameters.Choice("rows", [4, 8, 16])
            return super().run_trial(trial, *args, **kwargs)  # type: ignore[misc]

    tuner = make(units, objective="val_loss", max_trials=3, mixin=Batched)
    trials = search(tuner, **data(), callbacks=[Counting()]).oracle.trials.values()
    assert [trial.status for trial in trials] == ["COMPLETED"] * 3
    assert Counting.batches == [16 // trial.hyperparameters.get("rows") for trial in trials]


def test_build_and_fit_model_may_be_extended(make: Maker) -> None:
    class Longer:
        def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["epochs"] = trial.hyperparameters.Int("epochs", 2, 4)
            return super()._build_and_fit_model(trial, *args, **kwargs)  # type: ignore[misc]

    tuner = make(units, objective="val_loss", max_trials=3, mixin=Longer)
    trials = search(tuner, **data(), callbacks=[Counting()]).oracle.trials.values()
    assert Counting.ended == [trial.hyperparameters.get("epochs") for trial in trials]


def test_build_and_fit_model_may_be_replaced(make: Maker) -> None:
    class Compiling:
        """The way in which AutoKeras builds models from the data."""

        def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
            model = self.hypermodel.build(trial.hyperparameters)  # type: ignore[attr-defined]
            rate = trial.hyperparameters.Choice("rate", [0.1, 0.2])
            model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
            return model.fit(*args, **kwargs)

    def uncompiled(hp: Any) -> keras.Model:
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    tuner = search(make(uncompiled, objective="val_loss", max_trials=1, mixin=Compiling), **data())
    (trial,) = tuner.oracle.trials.values()
    assert trial.hyperparameters.get("rate") in (0.1, 0.2)
    (model,) = tuner.get_best_models()
    x, y = data()["validation_data"]
    assert np.mean((model.predict(x, verbose=0) - y) ** 2) == pytest.approx(trial.score, rel=1e-5)


class OwnFit(keras_tuner.HyperModel):
    """Declares hyperparameters before and during the training, and leaves its model without weights."""

    def declare_hyperparameters(self, hp: Any) -> None:
        hp.Int("declared", 1, 9)

    def build(self, hp: Any) -> keras.Model:
        return keras.Sequential()

    def fit(self, hp: Any, model: keras.Model, scale: float, **kwargs: Any) -> float:
        return scale * hp.Choice("late", [1, 2, 3]) * hp.get("declared")


def test_a_hypermodel_may_train_by_itself(make: Maker) -> None:
    tuner = make(OwnFit(), max_trials=4)
    assert "declared" in [hp.name for hp in tuner.oracle.get_space().space]
    for trial in search(tuner, 0.5).oracle.get_best_trials(4):
        values = trial.hyperparameters.values
        assert trial.score == 0.5 * values["late"] * values["declared"]
        assert trial.status == "COMPLETED"


def test_a_tuner_may_use_attributes_of_the_hypermodel(make: Maker) -> None:
    class Scaled(keras_tuner.HyperModel):
        scale = 7.0

        def build(self, hp: Any) -> keras.Model:
            return units(hp)

    class Own:
        def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
            return self.hypermodel.scale  # type: ignore[attr-defined,no-any-return]

    tuner = search(make(Scaled(), max_trials=1, mixin=Own))
    assert tuner.oracle.get_best_trials()[0].score == 7.0
    with pytest.raises(AttributeError, match="'Scaled' object has no attribute 'other'"):
        _ = tuner.hypermodel.other


def test_more_trials_are_asked_for_than_were_completed(make: Maker) -> None:
    options = {"objective": "val_loss", "max_trials": 2}
    assert make(units, **options).oracle.get_best_trials(3) == []
    for tuner in (search(make(units, **options), **data()), make(units, **options)):
        best = tuner.oracle.get_best_trials(9)
        assert [trial.score for trial in best] == sorted(t.score for t in tuner.oracle.trials.values())
        models, hyperparameters = tuner.get_best_models(9), tuner.get_best_hyperparameters(9)
        assert len(best) == len(models) == len(hyperparameters) == 2
        assert [m.layers[0].units for m in models] == [hp.get("units") for hp in hyperparameters]
        assert tuner.get_best_models(0) == tuner.get_best_hyperparameters(0) == []
