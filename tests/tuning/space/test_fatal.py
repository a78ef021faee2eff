from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_initx.tuning.space import WrongInEveryTrial

pytestmark = pytest.mark.one_backend


class Tuner(keras_tuner.RandomSearch):
    """Counts its trials, which all raise."""

    runs = 0

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
        self.runs += 1
        raise WrongInEveryTrial("metric", trial.hyperparameters.Float("x", 0, 1), "a word")


def test_it_ends_a_search_of_keras_tuner(tmp_path: Path) -> None:
    tuner = Tuner(max_trials=5, directory=tmp_path)
    with pytest.raises(WrongInEveryTrial, match=r"^`metric` must be a word, got 0"):
        tuner.search()
    assert tuner.runs == 1
