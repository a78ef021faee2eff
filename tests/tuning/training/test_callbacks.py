"""The callbacks of a run: the best epoch, the target, the metric that a pruner receives, and the schedule."""

from typing import Any

import keras
import keras_tuner
import numpy as np
import optuna
import pytest
from keras_initx.tuning.training.callbacks import BestEpoch, Schedule, StopAtTarget

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

RATES = [0.1, 1e-9]
EPOCHS = 8
OPTIONS = {
    "tuner": "grid", "trials": None, "initializers": ["he_normal"], "learning_rates": RATES,
    "epochs": EPOCHS, "seeds": 1, "screening": False,
}  # fmt: skip


def rates_of(name: str, epochs: int = 4) -> list[float]:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.8), "mse")
    seen: list[float] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))

    x = np.zeros((4, 2), "float32")
    model.fit(x, x[:, :1], epochs=epochs, verbose=0, callbacks=[Schedule(name, epochs), Watch()])
    return seen


class TestBestEpoch:
    @pytest.mark.parametrize("direction", ["min", "max"])
    @pytest.mark.parametrize("worst", [float("nan"), float("inf"), -float("inf")])
    def test_first_epoch_that_is_not_finite_is_not_the_best(self, direction: str, worst: float) -> None:
        # Keras's EarlyStopping would restore it: no value is better than NaN.
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        stopper = BestEpoch(keras_tuner.Objective("value", direction), patience=9)
        stopper.set_model(model)
        stopper.on_train_begin()
        values = [worst, 0.5, worst, 0.5, 0.25 if direction == "max" else 0.75]
        for epoch, value in enumerate(values):
            model.set_weights([np.full_like(w, epoch) for w in model.get_weights()])
            stopper.on_epoch_end(epoch, {"value": value})
        stopper.on_train_end()
        assert stopper.best_epoch == 1
        assert all(np.all(w == 1) for w in model.get_weights())

    def test_epochs_without_the_metric_do_not_count(self) -> None:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        stopper = BestEpoch(keras_tuner.Objective("value", "min"), patience=2)
        stopper.set_model(model)
        # A training loop of the user's own may leave out `on_train_begin`.
        for epoch, logs in enumerate([{}, {"value": 0.5}, {}, {"value": 0.25}, {}]):
            model.set_weights([np.full_like(w, epoch) for w in model.get_weights()])
            stopper.on_epoch_end(epoch, logs)
        stopper.on_train_end()
        assert stopper.values == {1: 0.5, 3: 0.25}
        assert all(np.all(w == 3) for w in model.get_weights())

    def test_several_objectives_are_one_sum(self) -> None:
        """KerasTuner adds what is minimized and subtracts what is maximized."""
        several = keras_tuner.Oracle(
            [keras_tuner.Objective("loss", "min"), keras_tuner.Objective("gain", "max")]
        ).objective
        stopper = BestEpoch(several, patience=9)
        stopper.set_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]))
        stopper.on_train_begin()
        for epoch, (loss, gain) in enumerate([(1.0, 0.0), (2.0, 3.0), (0.5, 1.0)]):
            stopper.on_epoch_end(epoch, {"loss": loss, "gain": gain})
        assert stopper.values == {0: 1.0, 1: -1.0, 2: -0.5}
        assert stopper.best_epoch == 1


class TestTarget:
    def test_an_epoch_whose_loss_is_not_finite_reaches_no_target(self) -> None:
        target = StopAtTarget(keras_tuner.Objective("accuracy", "max"), 0.9)
        target.set_model(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]))
        for epoch, loss in enumerate([np.nan, np.inf, 1.0]):
            target.on_epoch_end(epoch, {"loss": loss, "accuracy": 0.95})
        assert target.reached == 3

    def test_score_is_the_first_epoch_that_reaches_the_target(self, quick: Any) -> None:
        whole = {t.values["learning_rate"]: t for t in quick(**OPTIONS).trials}
        result = quick(target=0.8, mode="overwrite", **OPTIONS)
        assert result.objective.name == "epochs to val_accuracy 0.8"
        for trial in result.trials:
            for seed, record in trial.seeds.items():
                curve = whole[trial.values["learning_rate"]].seeds[seed]["curves"]["val_accuracy"]
                reached = [n for n, value in enumerate(curve, 1) if value >= 0.8]
                assert record["score"] == (reached[0] if reached else EPOCHS + 1)
                # The run ends there.
                assert record["epochs"] == min(record["score"], EPOCHS)
                assert record["curves"]["val_accuracy"] == curve[: record["epochs"]]
        means = {t.values["learning_rate"]: t.sample.mean for t in result.trials}
        assert result.best.values["learning_rate"] == min(means, key=means.__getitem__)
        assert min(means.values()) < means[1e-9] == EPOCHS + 1
        assert "points" not in result.verdict()

    def test_loss_falls_to_its_target(self, quick: Any) -> None:
        result = quick(objective="val_loss", target=0.5, **OPTIONS)
        scores = set()
        for trial in result.trials:
            for record in trial.seeds.values():
                below = np.array(record["curves"]["val_loss"]) <= 0.5
                assert record["score"] == (int(np.argmax(below)) + 1 if below.any() else EPOCHS + 1)
                scores.add(record["score"])
        assert len(scores) == 2

    def test_pruner_receives_the_metric_with_the_sign_of_the_objective(self, quick: Any) -> None:
        """A search for the fewest epochs is minimized, but a higher accuracy is still better."""
        rates = [0.1, 0.09, 0.08, 1e-9]
        pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=2)
        result = quick(
            target=2.0, pruner=pruner, initializers=["he_normal"], learning_rates=rates, trials=4, epochs=8,
            seeds=1, enqueue=[{"learning_rate": rate} for rate in rates],
        )  # fmt: skip
        assert result.trials[0].status == "completed"
        assert result.trials[3].status == "pruned"
        values = result.tuner.oracle.frozen("0000").intermediate_values
        curve = result.trials[0].seeds[0]["curves"]["val_accuracy"]
        assert list(values.values()) == [-value for value in curve]

    @pytest.mark.parametrize("target", ["0.9", True])
    def test_target_that_is_no_number(self, quick: Any, target: Any) -> None:
        with pytest.raises(InitxError, match=rf"^`target` must be .*, got {target!r}"):
            quick(target=target)


class TestSchedule:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("constant", [0.8] * 4),
            ("linear", [0.8, 0.6, 0.4, 0.2]),
            ("cosine", [0.8, 0.8 * (1 + 0.5**0.5) / 2, 0.4, 0.8 * (1 - 0.5**0.5) / 2]),
        ],
    )
    def test_the_rate_of_each_epoch(self, name: str, expected: list[float]) -> None:
        assert rates_of(name) == pytest.approx(expected, rel=1e-6)

    def test_a_schedule_shares_the_compiled_model_and_matters(self, quick: Any) -> None:
        result = quick(
            tuner="grid", trials=None, initializers=["he_normal"], learning_rates=[0.1], epochs=4,
            schedules=["constant", "linear", "cosine"], seeds=1, batch_size=48, screening=False,
        )  # fmt: skip
        assert len(result.tuner.job.models) == 1
        losses = {t.values["schedule"]: t.seeds[0]["curves"]["loss"] for t in result.trials}
        assert len({curve[0] for curve in losses.values()}) == 1
        assert len({curve[-1] for curve in losses.values()}) == 3

    def test_name_that_is_not_known(self, quick: Any) -> None:
        with pytest.raises(InitxError, match=r"^`schedules` 'cosin' is not known\. Did you mean 'cosine'"):
            quick(schedules=["cosin"])

    def test_an_optimizer_with_its_own_schedule(self, quick: Any, small_model: Any) -> None:
        def build() -> keras.Model:
            model = small_model()
            rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
            model.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
            return model

        with pytest.raises(
            InitxError, match=r"^`schedules` must be None for an optimizer with a schedule of its own, got"
        ):
            quick(build, learning_rates=None, schedules=["cosine"])
