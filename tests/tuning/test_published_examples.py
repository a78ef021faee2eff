"""Published Keras examples, searched with their own arguments of `fit`."""

import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning import Execution, Results, SearchSpace, search

from tests.tuning.published_examples import EXAMPLES, ON_TENSORFLOW

# Models with a training step of their own cannot be screened, which one warning says.
UNSCREENED = {"vae", "gan"}


def test_there_are_twenty() -> None:
    assert len({example.__name__ for example in EXAMPLES}) == 20


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.__name__)
def test_example_is_searched_as_it_is(example: Any, tmp_path: Path) -> None:
    if example in ON_TENSORFLOW and keras.backend.backend() != "tensorflow":
        pytest.skip("it is written for TensorFlow")
    build, data, fit = example()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = search(
            build,
            *data,
            space=SearchSpace(["he_normal", "own"]),
            tuner="random",
            trials=2,
            seeds=2,
            execution=Execution(jit_compile=False),
            verbose=0,
            results=Results(tmp_path / "results", logs=tmp_path / "logs"),
            **{"epochs": 2, **fit},
        )
    told = [str(warning.message) for warning in caught if "cannot be screened" in str(warning.message)]
    assert len(told) == (example.__name__ in UNSCREENED)
    assert [trial.status for trial in result.trials] == ["completed"] * 2
    for trial in result.trials:
        scores = trial.scores()
        assert len(scores) == 2
        assert np.isfinite(list(scores.values())).all()
    # The best model is the one that was trained: it has the weights of the best seed.
    model = result.best_model()
    assert model.count_params() > 0
