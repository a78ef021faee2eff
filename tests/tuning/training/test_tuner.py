"""Trials over several seeds: the score of each seed, its best epoch and its weights."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner, OptunaOracle, SearchSpace

from tests.tuning.training.tuners import line_data, lines, make

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def tuner(
    tmp_path_factory: Any, small_model: Callable[..., keras.Model], pairs: Any, recorder: Any
) -> InitializerTuner:
    """A tuner after a search of two trials, for tests that do not change it."""
    tuner = make(tmp_path_factory.mktemp("tuner"), small_model, pairs, observers=[recorder()])
    tuner.run()
    return tuner


def test_scores_are_best_epochs_and_their_mean(tuner: InitializerTuner) -> None:
    trials = tuner.oracle.frozen_trials()
    assert len(trials) == 2
    for frozen in trials:
        records = tuner.oracle.seed_results(f"{frozen.number:04d}")
        assert list(records) == [0, 1, 2]
        for record in records.values():
            curve = record["curves"]["val_accuracy"]
            assert record["score"] == max(curve)
            assert record["best_epoch"] == curve.index(max(curve)) + 1
            assert record["epochs"] == len(curve) == 3
            assert record["curves"].keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
            assert record["diverged_in_epoch"] is None
            assert record["seconds"] > 0
        assert frozen.value == np.mean([r["score"] for r in records.values()])
    # Each seed is another draw.
    assert len({tuple(r["curves"]["loss"]) for r in records.values()}) == 3


def test_observers_are_notified(tuner: InitializerTuner) -> None:
    (observer,) = tuner.observers
    assert observer.begun == [("0000", [0, 1, 2]), ("0001", [0, 1, 2])]
    assert observer.seeds == [(trial, seed) for trial in ("0000", "0001") for seed in (0, 1, 2)]
    assert observer.ended == ["completed", "completed"]
    assert (observer.epochs, observer.skipped) == (18, 0)


def test_loaded_model_evaluates_to_the_score_of_the_best_seed(tuner: InitializerTuner, pairs: Any) -> None:
    for trial in tuner.oracle.get_best_trials(2):
        model = tuner.load_model(trial)
        results = model.evaluate(*pairs[1], batch_size=24, verbose=0, return_dict=True)
        best = max(r["score"] for r in tuner.oracle.seed_results(trial.trial_id).values())
        assert results["accuracy"] == pytest.approx(best, abs=1e-7)
    # KerasTuner's own method returns two different models.
    one, two = tuner.get_best_models(2)
    assert one is not two


def test_patience_saves_epochs(tmp_path: Path, small_model: Any, pairs: Any, recorder: Any) -> None:
    observer = recorder()
    tuner = make(
        tmp_path, small_model, pairs, trials=1, seeds=(0,), epochs=20, patience=1, observers=[observer]
    )
    tuner.run()
    record = tuner.oracle.seed_results("0000")[0]
    assert record["epochs"] < 20
    assert record["epochs"] == record["best_epoch"] + 1
    assert observer.epochs + observer.skipped == 20


def test_test_data_are_evaluated_at_the_best_epoch_and_influence_nothing(
    tmp_path: Path, small_model: Any, pairs: Any
) -> None:
    tuner = make(tmp_path / "a", small_model, (*pairs, pairs[1]), trials=1, seeds=(0, 1))
    tuner.run()
    for record in tuner.oracle.seed_results("0000").values():
        assert record["test"]["accuracy"] == pytest.approx(record["score"], abs=1e-7)
        assert record["test"].keys() == {"loss", "accuracy"}
    without = make(tmp_path / "b", small_model, pairs, trials=1, seeds=(0, 1))
    without.run()
    assert [t.value for t in without.oracle.frozen_trials()] == [
        t.value for t in tuner.oracle.frozen_trials()
    ]
    assert "test" not in without.oracle.seed_results("0000")[0]


class TestDivergence:
    def test_ends_the_seed_and_keeps_its_earlier_epochs(self, tmp_path: Path, recorder: Any) -> None:
        observer = recorder()
        options: dict[str, Any] = {"seeds": (0, 1), "epochs": 40, "batch_size": 48, "observers": [observer]}
        tuner = lines(tmp_path, [1e6], **options)
        tuner.run()
        oracle = tuner.oracle
        for record in oracle.seed_results("0000").values():
            assert 1 < record["epochs"] == record["diverged_in_epoch"] < 40
            assert not np.isfinite(record["curves"]["loss"][-1])
            assert np.isfinite(record["score"])
            assert record["score"] == record["curves"]["val_loss"][0]
        assert observer.epochs + observer.skipped == 2 * 40
        assert oracle.frozen_trials()[0].state.name == "COMPLETE"

    def test_no_finite_epoch_fails_the_trial_and_the_search_goes_on(
        self, tmp_path: Path, recorder: Any
    ) -> None:
        observer = recorder()
        tuner = lines(tmp_path, [1e30, 0.01], trials=2, seeds=(0,), epochs=2, observers=[observer])
        tuner.run()
        oracle = tuner.oracle
        assert sorted(observer.ended) == ["completed", "failed"]
        (failed,) = (t for t in oracle.frozen_trials() if t.state.name == "FAIL")
        assert failed.params["learning_rate"] == 1e30
        reason = failed.user_attrs["reason"]
        assert reason == "FloatingPointError: no epoch of seed 0 has a finite loss and a finite val_loss"

    @pytest.mark.parametrize("batch_size", [16, 48])
    def test_a_loss_that_is_never_finite_fails_the_trial_whatever_its_metric_says(
        self, tmp_path: Path, batch_size: int
    ) -> None:
        # Each epoch is one step, so its loss is measured before the weights change.
        def build() -> keras.Model:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
            model.compile(keras.optimizers.SGD(1e30), "mse", metrics=["binary_accuracy"])
            return model

        # Nine of ten labels are class 0, which a model that outputs NaN predicts.
        skewed = [(x, (np.arange(len(x)) % 10 == 0).astype("float32")) for x, _ in line_data()]
        tuner = make(
            tmp_path,
            build,
            skewed,
            trials=1,
            seeds=(0,),
            batch_size=batch_size,
            objective=keras_tuner.Objective("val_binary_accuracy", "max"),
            screening=False,
            space=SearchSpace(["glorot_uniform"]),
        )
        reason = "no epoch of seed 0 has a finite loss and a finite val_binary_accuracy"
        with pytest.raises(RuntimeError, match=reason):
            tuner.run()
        (failed,) = tuner.oracle.frozen_trials()
        assert failed.state.name == "FAIL"
        assert failed.user_attrs["reason"] == f"FloatingPointError: {reason}"


def test_best_epoch_is_restored_not_the_last(tmp_path: Path) -> None:
    # With this learning rate the loss rises from epoch to epoch, so the first epoch is the best.
    tuner = lines(tmp_path, [2.0], seeds=(3, 4), batch_size=48)
    tuner.run()
    oracle = tuner.oracle
    records = oracle.seed_results("0000")
    for record in records.values():
        curve = record["curves"]["val_loss"]
        assert all(a < b for a, b in itertools.pairwise(curve))
        assert (record["score"], record["best_epoch"]) == (curve[0], 1)
    model = tuner.load_model(oracle.get_best_trials()[0])
    loss = model.evaluate(*line_data()[1], verbose=0, return_dict=True)["loss"]
    assert loss == pytest.approx(min(r["score"] for r in records.values()), rel=1e-6)


def test_objective_with_a_direction(tmp_path: Path, small_model: Any, pairs: Any) -> None:
    objective = keras_tuner.Objective("loss", "max")
    tuner = make(tmp_path, small_model, pairs, trials=1, seeds=(0,), objective=objective)
    tuner.run()
    assert all(r["score"] == max(r["curves"]["loss"]) for r in tuner.oracle.seed_results("0000").values())


def test_all_trials_share_one_compiled_model(tuner: InitializerTuner) -> None:
    assert len(tuner.job.models) == 1


def test_a_repeated_combination_runs_on_fresh_seeds(tmp_path: Path, small_model: Any, pairs: Any) -> None:
    oracle = OptunaOracle("val_accuracy", 3, sampler="random", seed=0, repeats=True)
    oracle.verbose = 0
    tuner = InitializerTuner(
        small_model, oracle=oracle, space=SearchSpace(["auto"]), seeds=(4, 5), jit_compile=False,
        directory=str(tmp_path), project_name="p",
    )  # fmt: skip
    tuner.search(*pairs[0], validation_data=pairs[1], epochs=1, batch_size=48)
    assert [list(t.seeds) for t in oracle.results()] == [[4, 5], [1004, 1005], [2004, 2005]]


def test_metrics_are_those_of_the_best_epoch_with_rare_validations(tmp_path: Path) -> None:
    train, validation = line_data()
    tuner = lines(tmp_path, [0.05], seeds=(0,))
    tuner.search(*train, validation_data=validation, epochs=6, validation_freq=2, batch_size=16)
    record = tuner.oracle.seed_results("0000")[0]
    assert len(record["curves"]["val_loss"]) == 3
    assert record["best_epoch"] == 6
    assert record["metrics"]["val_loss"] == record["score"] == record["curves"]["val_loss"][-1]
    assert record["metrics"]["loss"] == record["curves"]["loss"][5]
    # Epochs count from 0 in KerasTuner.
    assert tuner.oracle.get_best_trials()[0].best_step == 5
