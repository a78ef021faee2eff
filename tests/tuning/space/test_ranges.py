"""Test weight decays and schedules of the learning rate as hyperparameters."""

from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning.training.callbacks import Schedule

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.8] * 4),
        ("linear", [0.8, 0.6, 0.4, 0.2]),
        ("cosine", [0.8, 0.8 * (1 + 0.5**0.5) / 2, 0.4, 0.8 * (1 - 0.5**0.5) / 2]),
    ],
)
def test_the_rate_of_each_epoch(name: str, expected: list[float]) -> None:
    assert rates_of(name) == pytest.approx(expected, rel=1e-6)


class TestInASearch:
    def test_a_schedule_shares_the_compiled_model_and_matters(self, quick: Any) -> None:
        result = quick(
            tuner="grid", trials=None, initializers=["he_normal"], learning_rates=[0.1], epochs=4,
            schedules=["constant", "linear", "cosine"], seeds=1, batch_size=48, screening=False,
        )  # fmt: skip
        assert len(result.tuner.models) == 1
        losses = {t.values["schedule"]: t.seeds[0]["curves"]["loss"] for t in result.trials}
        assert len({curve[0] for curve in losses.values()}) == 1
        assert len({curve[-1] for curve in losses.values()}) == 3

    def test_weight_decay_reaches_the_optimizer(self, quick: Any, small_model: Any) -> None:
        decays = [1e-6, 0.5]
        result = quick(
            tuner="grid",
            trials=None,
            initializers=["he_normal"],
            learning_rates=[0.05],
            weight_decays=decays,
            seeds=1,
            batch_size=48,
            screening=False,
        )
        # A trace freezes the weight decay, so each value needs its own compiled model.
        assert len(result.tuner.models) == 2
        for trial in result.trials:
            assert (
                result.tuner.hypermodel.build(
                    result.tuner.oracle.get_trial(f"{trial.number:04d}").hyperparameters
                ).optimizer.weight_decay
                == trial.values["weight_decay"]
            )
        one, two = (t.seeds[0]["curves"]["loss"] for t in result.trials)
        assert one != two

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"schedules": ["cosin"]}, r"^`schedules` 'cosin' is not known\. Did you mean 'cosine'"),
            ({"weight_decays": [-1.0]}, r"^`weight_decays` must be a list of numbers >= 0, .* got \[-1\.0\]"),
        ],
    )
    def test_bad_values(self, quick: Any, options: Any, message: str) -> None:
        with pytest.raises(InitxError, match=message):
            quick(**options)

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


def test_a_weight_decay_of_zero_is_a_value(quick: Any) -> None:
    result = quick(
        weight_decays=[0.0, 0.01], tuner="grid", trials=None, learning_rates=[0.1], initializers=["auto"],
        seeds=1, epochs=1, batch_size=48, screening=False,
    )  # fmt: skip
    assert sorted(t.values["weight_decay"] for t in result.trials) == [0.0, 0.01]
    with pytest.raises(InitxError, match=r"^`weight_decays` must be a list of numbers >= 0"):
        quick(weight_decays=[0.0, -1.0], overwrite=True)
    with pytest.raises(InitxError, match=r"^`learning_rates` must be a list of positive numbers"):
        quick(learning_rates=[0.0], overwrite=True)
