"""Each number that `fit` could not use is refused, and what Keras allows is not."""

from typing import Any

import keras
import numpy as np
import pytest
from keras_initx.tuning.data import check_limits

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

PAIR = (np.zeros((4, 2)), np.zeros(4))


@pytest.mark.parametrize(
    ("fit", "message"),
    [
        ({"epochs": True}, "`epochs` must be an integer >= 1, got True"),
        ({"epochs": 0}, "`epochs` must be an integer >= 1, got 0"),
        ({"batch_size": True}, "`batch_size` must be an integer >= 1"),
        ({"epochs": 3, "initial_epoch": 3}, "`initial_epoch` must be an integer from 0 to 2"),
        ({"validation_split": True}, "`validation_split` must be a share"),
        ({"validation_split": 1.5}, "`validation_split` must be a share"),
        ({"validation_freq": 0}, "`validation_freq` must be an integer >= 1"),
        ({"validation_freq": 2.0}, "`validation_freq` must be an integer >= 1, or a list of epochs, got 2.0"),
        ({"validation_freq": [0.5]}, "`validation_freq` must be an integer >= 1, or a list of epochs"),
        ({"epochs": None}, "`epochs` must be an integer >= 1, got None"),
        ({"validation_steps": -1}, "`validation_steps` must be an integer >= 1"),
        ({"steps_per_epoch": 0}, "`steps_per_epoch` must be an integer >= 1"),
        ({"validation_split": "0.5"}, "`validation_split` must be a share"),
        ({"validation_split": np.array([0.5])}, "`validation_split` must be a share"),
        ({"initial_epoch": True, "epochs": 3}, "`initial_epoch` must be an integer from 0 to 2"),
        ({"class_weight": {0: "1"}}, "`class_weight` must be a finite weight for class 0"),
        ({"callbacks": [[keras.callbacks.TerminateOnNaN()], ["early"]]}, "`callbacks` must be objects of"),
        ({"class_weight": {0: 1.0, 1: np.nan}}, "`class_weight` must be a finite weight for class 1"),
        ({"callbacks": ["early"]}, "`callbacks` must be objects of keras.callbacks.Callback, got 'early'"),
    ],
)
def test_refused(fit: dict[str, Any], message: str) -> None:
    with pytest.raises(InitxError) as caught:
        check_limits(fit)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "fit",
    [
        {},
        {"epochs": np.int64(3), "initial_epoch": 2, "batch_size": None, "validation_split": None},
        {"epochs": 2, "validation_freq": 5},
        {"epochs": 3, "initial_epoch": np.int64(2), "validation_steps": 0, "validation_split": np.array(0.5)},
        {"class_weight": {0: np.array(1.0), 1: True}, "validation_freq": np.int64(1)},
        {"callbacks": [[keras.callbacks.TerminateOnNaN()], {"a": keras.callbacks.TerminateOnNaN()}]},
        {"epochs": 5, "initial_epoch": 3, "validation_freq": 5, "validation_data": PAIR},
        {"epochs": 9, "validation_freq": [2, 9], "validation_data": PAIR},
        # Refused with the arguments of `fit`, whatever its form.
        {"class_weight": np.ones(2)},
        {"class_weight": {0: 1, 1: np.float32(2)}, "callbacks": keras.callbacks.TerminateOnNaN()},
    ],
)
def test_allowed(fit: dict[str, Any]) -> None:
    check_limits(fit)
