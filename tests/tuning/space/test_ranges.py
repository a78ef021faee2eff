"""Test weight decays and learning rates as hyperparameters."""

from typing import Any

import pytest

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend


class TestInASearch:
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
        assert len(result.tuner.job.models) == 2
        for trial in result.trials:
            assert (
                result.tuner.hypermodel.build(
                    result.tuner.oracle.get_trial(f"{trial.number:04d}").hyperparameters
                ).optimizer.weight_decay
                == trial.values["weight_decay"]
            )
        one, two = (t.seeds[0]["curves"]["loss"] for t in result.trials)
        assert one != two

    def test_negative_weight_decay(self, quick: Any) -> None:
        message = r"^`weight_decays` must be a list of numbers >= 0, .* got \[-1\.0\]"
        with pytest.raises(InitxError, match=message):
            quick(weight_decays=[-1.0])


def test_a_weight_decay_of_zero_is_a_value(quick: Any) -> None:
    result = quick(
        weight_decays=[0.0, 0.01], tuner="grid", trials=None, learning_rates=[0.1], initializers=["auto"],
        seeds=1, epochs=1, batch_size=48, screening=False,
    )  # fmt: skip
    assert sorted(t.values["weight_decay"] for t in result.trials) == [0.0, 0.01]
    with pytest.raises(InitxError, match=r"^`weight_decays` must be a list of numbers >= 0"):
        quick(weight_decays=[0.0, -1.0], mode="overwrite")
    with pytest.raises(InitxError, match=r"^`learning_rates` must be a list of positive numbers"):
        quick(learning_rates=[0.0], mode="overwrite")
