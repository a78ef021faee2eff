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
# Their objective is not a metric of validation data.
UNVALIDATED = {"vae", "gan", "actor_critic"}


def validation_of(data: Any, fit: Any) -> Any:
    """Return the arguments of `evaluate` for the validation data; None if there are none."""
    if "validation_split" in fit:
        first = round(len(data[0]) * (1 - fit["validation_split"]))
        return [array[first:] for array in data]
    held_out = fit.get("validation_data")
    return held_out if held_out is None or isinstance(held_out, tuple) else (held_out,)


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
    held_out = validation_of(data, fit)
    if held_out is None:
        assert example.__name__ in UNVALIDATED
        return
    name = result.objective.name.removeprefix("val_")
    arguments = dict(zip(("x", "y", "sample_weight"), held_out, strict=False))
    measured = model.evaluate(**arguments, batch_size=fit.get("batch_size"), verbose=0, return_dict=True)
    choose = max if result.objective.direction == "max" else min
    assert measured[name] == pytest.approx(choose(result.best.scores().values()), rel=1e-5)
