"""KerasTuner's guides, with only the class of the tuner swapped."""

from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import InitializerTuner

from keras_initx import InitxError
from tests.tuning import published_guides as guides
from tests.tuning import published_guides_on_training as training

pytestmark = pytest.mark.one_backend


class Tuner(InitializerTuner):
    """Our tuner without XLA, and with one seed where the guide names no number: these models are small."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"jit_compile": False, "executions_per_trial": 1, **kwargs})


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def completed(tuner: Any, count: int) -> list[Any]:
    """Return the trials, all of which must be completed, the best first."""
    trials = tuner.oracle.get_best_trials(99)
    assert (
        [trial.status for trial in trials]
        == ["COMPLETED"] * count
        == ["COMPLETED"] * len(tuner.oracle.trials)
    )
    assert np.isfinite([trial.score for trial in trials]).all()
    sign = -1 if tuner.oracle.objective.direction == "max" else 1
    assert [sign * trial.score for trial in trials] == sorted(sign * trial.score for trial in trials)
    return trials


# The sections of the guides without a test of their own below, and the number of their trials.
SECTIONS = {
    guides.first_search: 3,
    guides.tuned_training: 3,
    guides.built_in_metric: 3,
    guides.custom_metric: 3,
    guides.own_value: 3,
    guides.own_values: 3,
    guides.any_function: 10,
    guides.separate_code: 3,
    training.own_loop: 2,
    training.own_tuner: 2,
}
# Models that KerasTuner brings along: many layers, whatever their sizes.
READY_MADE = {guides.ready_made: 1, guides.tailored_ready_made: 2}


@pytest.mark.parametrize(
    ("section", "count"),
    [
        *SECTIONS.items(),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in READY_MADE.items()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_all_trials_complete(section: Any, count: int) -> None:
    completed(section(Tuner), count)


def test_only_the_given_hyperparameters_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    tuner = guides.few_are_searched(Tuner)
    assert "Search space summary\nDefault search space size: 1\nlearning_rate (Float)" in (
        capsys.readouterr().out
    )
    trials = completed(tuner, 3)
    values = [trial.hyperparameters.values for trial in trials]
    assert len({table["learning_rate"] for table in values}) == 3
    assert {table["units"] for table in values} == {8}
    # What trained them are the rates that were stored.
    for trial, model in zip(trials, tuner.get_best_models(3), strict=True):
        rate = keras.ops.convert_to_numpy(model.optimizer.learning_rate)
        assert rate == pytest.approx(trial.hyperparameters.values["learning_rate"], rel=1e-6)


def test_fixed_hyperparameters_stay(capsys: pytest.CaptureFixture[str]) -> None:
    tuner = guides.few_are_fixed(Tuner)
    assert "learning_rate (Fixed)" in capsys.readouterr().out
    values = [trial.hyperparameters.values for trial in completed(tuner, 3)]
    assert {table["learning_rate"] for table in values} == {1e-4}


def test_arguments_of_compile_replace_those_of_the_model() -> None:
    tuner = guides.compiled_otherwise(Tuner)
    (model,) = tuner.get_best_models()
    assert model.loss == "mse"
    assert "val_sparse_categorical_crossentropy" in completed(tuner, 3)[0].metrics.metrics


def test_tensorboard_has_a_folder_for_each_trial() -> None:
    tuner = training.visualized(Tuner)
    names = [trial.trial_id for trial in completed(tuner, 4)]
    assert sorted(path.name for path in Path("tb_logs").iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("error", "runs"), [(ValueError, 4), (keras_tuner.errors.FailedTrialError, 1)], ids=["retried", "not"]
)
def test_failed_trials_are_tolerated(
    error: type[Exception], runs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tuner = training.failing(Tuner, error)
    statuses = [trial.status for trial in tuner.oracle.trials.values()]
    assert len(statuses) == 10
    assert {"COMPLETED", "FAILED"} == set(statuses)
    failed = statuses.count("FAILED")
    for trial in tuner.oracle.trials.values():
        sizes = [trial.hyperparameters.values[f"units_{i}"] for i in (1, 2)]
        parameters = 5 * sizes[0] + (sizes[0] + 1) * sizes[1] + sizes[1] + 1
        assert (trial.status == "FAILED") == (parameters > 600)
    assert capsys.readouterr().out.count("retries left") == (runs - 1) * failed


def test_a_fatal_error_ends_the_search() -> None:
    with pytest.raises(keras_tuner.errors.FatalError, match="Model too large"):
        training.failing(Tuner, keras_tuner.errors.FatalError)


class TestHyperband:
    """The guide on several devices uses Hyperband, whose arguments our tuner does not have."""

    @pytest.mark.parametrize("argument", ["max_epochs", "factor", "hyperband_iterations"])
    def test_its_arguments_are_refused(self, argument: str) -> None:
        expected = rf"^`{argument}` is an argument of Hyperband, .*pruner='hyperband'"
        with pytest.raises(InitxError, match=expected):
            training.distributed(Tuner, **{argument: 3})

    def test_its_pruner_and_a_strategy(self) -> None:
        if keras.backend.backend() != "tensorflow":
            pytest.skip("it is written for TensorFlow")
        import tensorflow as tf

        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
        tuner = training.distributed(Tuner, max_trials=2, pruner="hyperband", distribution_strategy=strategy)
        # A pruned trial is not completed.
        assert len(tuner.oracle.trials) == 2
        assert tuner.oracle.get_best_trials()
