"""Trials that fail: retries, the limit of failures, and the end of a search without a result."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from tests.tuning.contract.makers import Maker, compiled, data, initializer_tuner, search

pytestmark = pytest.mark.one_backend


class Failing:
    """Fails in some of its calls, counted from 0, and records the values of each."""

    def __init__(self, *calls: int, error: Any = None) -> None:
        self.calls, self.error, self.values = calls, error or ValueError("no such thing"), []

    def __call__(self, hp: Any) -> float:
        hp.Float("x", 0.0, 1.0, default=0.5)
        self.values.append(dict(hp.values))
        if len(self.values) - 1 in self.calls:
            if isinstance(self.error, float):
                return self.error
            raise type(self.error)(*self.error.args)
        return 1.0


# Before it asks the oracle, KerasTuner takes the best of all reported values with NumPy.
@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")
@pytest.mark.parametrize("error", [ValueError("no such thing"), float("nan")])
def test_retries_with_the_same_values(make: Maker, error: Any, capsys: pytest.CaptureFixture[str]) -> None:
    # The second trial fails twice, the third once more than it may.
    run = Failing(1, 2, 3, 4, 5, error=error)
    tuner = search(make(None, run, max_trials=4, max_retries_per_trial=2))
    statuses = [tuner.oracle.trials[name].status for name in tuner.oracle.start_order]
    if isinstance(error, float):
        # KerasTuner averages the values of all runs, so a NaN stays.
        assert statuses[0] == "COMPLETED"
    else:
        assert statuses == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
        assert len(run.values) == 8
    assert run.values[1] == run.values[2] == run.values[3]
    assert "failed 1 times. 2 retries left." in capsys.readouterr().out
    assert [int(name) for name in tuner.oracle.end_order] == [0, 1, 2, 3]


@pytest.mark.filterwarnings("ignore:All-NaN:RuntimeWarning")
def test_trial_that_is_nan_once_completes(make_ours: Maker) -> None:
    run = Failing(0, error=float("nan"))
    tuner = search(make_ours(None, run, max_trials=1, max_retries_per_trial=1))
    (trial,) = tuner.oracle.trials.values()
    assert (trial.status, trial.score, len(run.values)) == ("COMPLETED", 1.0, 2)


def test_retries_go_on_after_an_interruption(make: Maker) -> None:
    calls = []

    def run(hp: Any) -> float:
        calls.append(hp.Float("x", 0.0, 1.0))
        if len(calls) == 2:
            raise KeyboardInterrupt
        raise ValueError("broken")

    def resumed(hp: Any) -> float:
        calls.append(hp.Float("x", 0.0, 1.0))
        raise ValueError("broken")

    options = {"max_trials": 1, "max_retries_per_trial": 2}
    with pytest.raises(KeyboardInterrupt):
        search(make(None, run, **options))
    # Only `InitializerTuner` raises at the end of a search without a completed trial.
    with suppress(RuntimeError):
        search(make(None, resumed, **options))
    assert len(calls) == 4
    assert len(set(calls)) == 1


def test_build_without_a_model_ends_the_search(make: Maker) -> None:
    def build(hp: Any) -> Any:
        model = compiled([])
        return model if hp.Choice("kind", ["model", "nothing"]) == "model" else None

    tuner = make(build, objective="val_loss", max_trials=2)
    with pytest.raises(keras_tuner.errors.FatalTypeError, match=r"returned None|Received: None"):
        search(tuner, **data())
    assert "FAILED" not in [trial.status for trial in tuner.oracle.trials.values()]


def test_limit_of_consecutive_failures(make: Maker) -> None:
    run = Failing(0, 2, 3)
    tuner = make(None, run, max_trials=9, max_consecutive_failed_trials=2)
    with pytest.raises(RuntimeError, match="exceeded the limit of 2") as caught:
        search(tuner)
    assert str(caught.value).startswith("Number of consecutive failures exceeded the limit of 2.")
    assert "ValueError: no such thing" in str(caught.value)
    assert len(run.values) == 4


def test_search_without_a_completed_trial(with_oracle: Maker) -> None:
    tuner = search(with_oracle(None, Failing(0, 1), max_trials=2))
    for oracle in (tuner.oracle, with_oracle(None, Failing(), max_trials=2).oracle):
        with pytest.raises(
            RuntimeError, match=r"^None of the 2 trials completed. Trial 0: ValueError: no such"
        ):
            oracle.check_any_completed()


def test_initializer_tuner_raises_by_itself(tmp_path: Path) -> None:
    tuner = initializer_tuner(tmp_path, None, Failing(0, 1), max_trials=2)
    with pytest.raises(RuntimeError, match=r"^None of the 2 trials completed. Trial 0: ValueError: no such"):
        search(tuner)


def test_search_with_a_completed_trial(with_oracle: Maker) -> None:
    oracle = with_oracle(None, Failing(0), max_trials=2).oracle
    oracle.check_any_completed()
    search(with_oracle(None, Failing(0), max_trials=2)).oracle.check_any_completed()
