"""Options that belong elsewhere are sent there."""

import re
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import Results, objective, search

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

X, Y = np.zeros((20, 4), "float32"), np.arange(20) % 2


@pytest.mark.parametrize(
    ("name", "value", "way"),
    [
        ("initializers", ["auto"], "space=SearchSpace(initializers=...)"),
        ("resume", True, "results=Results(folder, mode='resume')"),
        ("mode", "resume", "results=Results(mode=...)"),
        ("max_trials", 3, "trials=20"),
        ("executions_per_trial", 3, "seeds=3"),
        ("quiet", True, "verbose=0"),
        ("fit", {"batch_size": 8}, "the arguments of fit themselves, such as batch_size=32"),
        ("patience", 3, "stopping=Stopping(patience=...)"),
    ],
)
def test_an_option_of_another_place_is_sent_there(
    small_model: Any, tmp_path: Path, name: str, value: Any, way: str
) -> None:
    message = rf"^`{name}` is not an argument of `search`\. Pass {re.escape(way)}\.$"
    with pytest.raises(InitxError, match=message):
        search(lambda: small_model(), X, Y, results=tmp_path / "results", **{name: value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [search, objective])
def test_a_misspelt_option_gets_the_right_name(function: Any, small_model: Any, tmp_path: Path) -> None:
    message = rf"^`result` is not an argument of `{function.__name__}`\. Did you mean `results`\?$"
    with pytest.raises(InitxError, match=message):
        function(lambda: small_model(), X, Y, result=tmp_path)
    # The closest name may also be an argument of `fit`.
    with pytest.raises(InitxError, match="Did you mean `validation_data`"):
        objective(lambda: small_model(), X, Y, validation_dat=(X, Y))


def test_a_fit_of_ones_own_may_take_such_an_argument(tmp_path: Path, small_model: Any) -> None:
    class Own(keras_tuner.HyperModel):
        def build(self, hp: Any) -> keras.Model:
            return small_model()

        def fit(self, hp: Any, model: keras.Model, x: Any, y: Any, patience: int, **kwargs: Any) -> float:
            assert patience == 3
            return 0.5

    result = search(
        Own(), X, Y, trials=1, seeds=1, patience=3, verbose=0,
        results=Results(tmp_path / "results", logs=tmp_path / "logs"),
    )  # fmt: skip
    assert result.best.sample.mean == 0.5
