"""The fewest epochs until a score is reached, as an objective."""

from typing import Any

import numpy as np
import pytest

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

OPTIONS = {
    "tuner": "grid", "trials": None, "initializers": ["he_normal"], "learning_rates": [0.1, 0.02, 1e-9],
    "epochs": 12, "seeds": 2,
}  # fmt: skip


def test_the_score_is_the_first_epoch_that_reaches_it(quick: Any) -> None:
    whole = {t.values["learning_rate"]: t for t in quick(**OPTIONS).trials}
    result = quick(target=0.8, overwrite=True, **OPTIONS)
    assert result.objective.name == "epochs to val_accuracy 0.8"
    for trial in result.trials:
        for seed, record in trial.seeds.items():
            curve = whole[trial.values["learning_rate"]].seeds[seed]["curves"]["val_accuracy"]
            reached = [n for n, value in enumerate(curve, 1) if value >= 0.8]
            assert record["score"] == (reached[0] if reached else 13)
            # A run ends there.
            assert record["epochs"] == min(record["score"], 12)
            assert record["curves"]["val_accuracy"] == curve[: record["epochs"]]
    means = {t.values["learning_rate"]: t.sample.mean for t in result.trials}
    assert result.best.values["learning_rate"] == min(means, key=means.__getitem__)
    assert means[1e-9] == 13
    assert "points" not in result.verdict()


def test_a_loss_falls_to_its_target(quick: Any) -> None:
    result = quick(objective="val_loss", target=0.5, **OPTIONS)
    for trial in result.trials:
        for record in trial.seeds.values():
            below = np.array(record["curves"]["val_loss"]) <= 0.5
            assert record["score"] == (int(np.argmax(below)) + 1 if below.any() else 13)


def test_pruning_by_the_metric_that_is_watched(quick: Any) -> None:
    """In a study that looks for the fewest epochs, an accuracy is the better the higher."""
    import optuna

    rates = [0.1, 0.09, 0.08, 1e-9]
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=2)
    enqueue = [{"learning_rate": rate} for rate in rates]
    result = quick(
        target=2.0, pruner=pruner, initializers=["he_normal"], learning_rates=rates, trials=4, epochs=12,
        seeds=1, enqueue=enqueue,
    )  # fmt: skip
    assert result.trials[0].status == "completed"
    assert result.trials[3].status == "pruned"
    values = result.tuner.oracle.frozen("0000").intermediate_values
    curve = result.trials[0].seeds[0]["curves"]["val_accuracy"]
    assert list(values.values()) == [-value for value in curve]


@pytest.mark.parametrize("target", ["0.9", True])
def test_bad_targets(quick: Any, target: Any) -> None:
    with pytest.raises(InitxError, match=r"^target: received"):
        quick(target=target)
