"""What a search asks of the arguments of `fit`, before its first run."""

import threading
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning import SearchSpace, search
from keras_initx.tuning.data import FitArguments
from keras_initx.tuning.training import check_validates

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


def test_one_batch_size_and_several_to_search(tmp_path: Path, pairs: Any, small_model: Any) -> None:
    tuner = make(tmp_path, small_model, pairs, space=SearchSpace(["auto"], batch_sizes=[8, 16]))
    message = r"^`batch_size=64` has no effect, since batch_sizes=\[8, 16\] are searched"
    with pytest.raises(InitxError, match=message):
        tuner.search(*pairs[0], validation_data=pairs[1], batch_size=64)
    options = {"space": tuner.hypermodel.space, "validation_data": pairs[1], "epochs": 1}
    with pytest.raises(InitxError, match=message):
        search(small_model, *pairs[0], results=tmp_path / "results", batch_size=64, **options)
    assert not (tmp_path / "results").exists()


def test_batch_sizes_need_a_fit_that_takes_one(tmp_path: Path, pairs: Any, small_model: Any) -> None:
    class OwnSize(keras_tuner.HyperModel):
        def build(self, hp: Any) -> keras.Model:
            return small_model()

        def fit(
            self, hp: Any, model: keras.Model, x: Any, y: Any, validation_data: Any, callbacks: Any
        ) -> Any:
            return model.fit(x, y, 32, validation_data=validation_data, callbacks=callbacks)

    tuner = make(tmp_path, OwnSize(), pairs, space=SearchSpace(["auto"], batch_sizes=[8, 16]))
    with pytest.raises(
        InitxError, match=r"^`batch_sizes` has no effect: .* own fit has no argument `batch_size`"
    ):
        tuner.search(*pairs[0], validation_data=pairs[1])


def test_arrays_are_checked_before_the_first_trial(tmp_path: Path, pairs: Any, small_model: Any) -> None:
    tuner = make(tmp_path, small_model, pairs)
    (x, y), validation = pairs
    masked = np.ma.masked_array(x, np.arange(len(x))[:, None] == np.zeros(x.shape[1]))
    with pytest.raises(InitxError, match=r"^`x` must have no masked values"):
        tuner.search(masked, y, validation_data=validation)
    with pytest.raises(InitxError, match=r"^`x` and `sample_weight` must have the same number of rows, got "):
        tuner.search(x, y, sample_weight=y[1:] + 1.0, validation_data=validation)
    assert not tuner.oracle.trials


def test_validation_that_never_comes_is_refused_where_the_objective_needs_it(pairs: Any) -> None:
    (x, y), validation = pairs
    loss, held_out = keras_tuner.Objective("loss", "min"), keras_tuner.Objective("val_loss", "min")
    cases: list[tuple[int, int, Any, str | None]] = [
        (2, 0, 5, r"^`validation_freq=5` leaves no validation in epochs 1 to 2\. Pass a smaller one\.$"),
        (7, 5, 5, r"^`validation_freq=5` leaves no validation in epochs 6 to 7\. Pass a smaller one\.$"),
        (2, 0, (3, 4), r"^`validation_freq=\[3, 4\]` leaves no validation in epochs 1 to 2\. Include one"),
        (5, 3, 5, None),
        (9, 0, [2, 9], None),
    ]
    for epochs, first, every, message in cases:
        fit = {"epochs": epochs, "initial_epoch": first, "validation_freq": every}
        data = FitArguments((x, y), {**fit, "validation_data": validation})
        check_validates(loss, data)
        if message is None:
            check_validates(held_out, data)
            continue
        with pytest.raises(InitxError, match=message):
            check_validates(held_out, data)
