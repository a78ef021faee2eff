"""What a search asks of the arguments of `fit`, before its first run."""

import threading
from pathlib import Path
from typing import Any

import keras
import pytest
from keras_initx.tuning import SearchSpace

from keras_initx import InitxError
from tests.tuning.training.tuners import make

pytestmark = pytest.mark.one_backend


def test_callbacks_that_cannot_be_copied_are_refused_at_once(
    tmp_path: Path, pairs: Any, small_model: Any
) -> None:
    class Locked(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

    tuner = make(tmp_path, small_model, pairs)
    with pytest.raises(InitxError, match=r"^`callbacks` must be callbacks that copy\.deepcopy can copy"):
        tuner.search(*pairs[0], validation_data=pairs[1], callbacks=[Locked()])
    assert not tuner.oracle.trials


def test_a_validation_metric_needs_validation_data(tmp_path: Path, pairs: Any, small_model: Any) -> None:
    with pytest.raises(InitxError, match=r"^`objective` must be a metric of the training"):
        make(tmp_path, small_model, pairs).search(*pairs[0])


def test_batch_sizes_need_arrays(tmp_path: Path, pairs: Any, small_model: Any) -> None:
    tuner = make(tmp_path, small_model, pairs, space=SearchSpace(["auto"], batch_sizes=[8, 16]))

    def batches() -> Any:
        yield pairs[0]

    with pytest.raises(InitxError, match=r"^`batch_sizes` must be None for data in batches"):
        tuner.search(batches, steps_per_epoch=1, validation_data=pairs[1])
