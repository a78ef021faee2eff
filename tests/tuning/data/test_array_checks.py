"""Arrays that cannot be trained on are refused under the name of their argument."""

from typing import Any

import numpy as np
import pytest
from keras_initx.tuning.data import FitArguments, check_data, checked_test

from keras_initx import InitxError

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

X, Y = np.zeros((6, 2), "float32"), np.arange(6) % 2
MASKED = np.ma.masked_equal(np.arange(6.0), 2)


@pytest.mark.parametrize(
    ("changed", "argument"),
    [
        ({"y": MASKED}, "y"),
        ({"sample_weight": MASKED}, "sample_weight"),
        ({"sample_weight": np.ones(5)}, "sample_weight"),
        ({"validation_data": (X, Y, np.ones(5))}, "validation_data"),
        ({"validation_data": (X, Y, MASKED)}, "validation_data"),
        ({"y": Y[:5]}, "x"),
    ],
    ids=["masked y", "masked", "short", "validation", "masked validation", "short y"],
)
def test_what_cannot_be_used(changed: Any, argument: str) -> None:
    data = {"x": X, "y": Y, "sample_weight": np.ones(6), "validation_data": (X, Y, np.ones(6))}
    check_data(FitArguments((), data))
    with pytest.raises(InitxError) as caught:
        check_data(FitArguments((), data | changed))
    assert caught.value.argument == argument


def test_test_data_are_checked_under_their_own_name() -> None:
    assert checked_test(None) is None
    test = checked_test((X, Y))
    assert test is not None
    assert test.rows == 6
    assert checked_test(test) is test
    with pytest.raises(InitxError, match="test arrays of equal length") as caught:
        checked_test((X, Y[:5]))
    assert caught.value.argument == "test_data"
