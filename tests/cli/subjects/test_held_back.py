"""Test that validation rows are held back where they are needed and can be, and nowhere else."""

from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pytest

from keras_initx import InitxError
from keras_initx.cli.subjects.held_back import with_validation

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

FILE = Path("train.py")
ROWS = 30


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return np.zeros((2, 3)), np.zeros(2)


class OwnFit(keras_tuner.HyperModel):
    def build(self, hp):
        return keras.Sequential([keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        return 1.0


def arrays():
    import pandas as pd
    import scipy.sparse
    import tensorflow as tf

    numbers = np.arange(ROWS, dtype="float32")[:, None]
    return {
        "numpy": numbers,
        "frame": pd.DataFrame(numbers, index=range(ROWS, 0, -1)),
        "sparse": scipy.sparse.coo_matrix(numbers),
        "tensor": tf.constant(numbers),
    }


def plain(values):
    return np.ravel(values.toarray() if hasattr(values, "toarray") else np.asarray(values)).tolist()


@pytest.mark.parametrize("kind", ["numpy", "frame", "sparse", "tensor"])
def test_each_row_is_in_one_part_with_its_label_and_weight(kind):
    x, y, weights = arrays()[kind], np.arange(ROWS), np.arange(ROWS) / 2
    given = {"x": {"a": x}, "y": y, "sample_weight": weights, "epochs": 3}
    arguments, notes = with_validation(FILE, None, given, None)
    held = arguments["validation_data"]
    assert len(notes) == 1
    assert (len(held[1]), len(arguments["y"]), arguments["epochs"]) == (6, 24, 3)
    for part in ((arguments["x"], arguments["y"], arguments["sample_weight"]), held):
        assert plain(part[0]["a"]) == part[1].tolist() == (part[2] * 2).tolist()
    assert sorted([*arguments["y"], *held[1]]) == list(range(ROWS))
    # A resumed search sees the same data.
    np.testing.assert_array_equal(with_validation(FILE, None, given, None)[0]["y"], arguments["y"])


def test_inputs_alone_are_split_too():
    arguments, _ = with_validation(FILE, None, {"x": np.zeros((ROWS, 2))}, "val_loss")
    assert set(arguments) == {"x", "validation_data"}
    assert [part if part is None else len(part) for part in arguments["validation_data"]] == [6, None]


@pytest.mark.parametrize(
    ("model", "more", "objective"),
    [
        (None, {"validation_split": 0.1}, None),
        (None, {"validation_data": (np.zeros((2, 3)), np.zeros(2))}, None),
        (None, {}, "loss"),
        (OwnFit(), {}, None),
        (None, {"y": np.zeros(3)}, None),
        (None, {"x": None}, None),
        (None, {"x": Batches()}, "loss"),
        (None, {"x": Batches(), "validation_data": Batches()}, None),
        (None, {"x": iter([])}, None),
    ],
)
def test_nothing_is_held_back_where_it_is_not_needed_or_wrong_already(model, more, objective):
    given = {"x": np.zeros((ROWS, 3)), "y": np.zeros(ROWS), **more}
    arguments, notes = with_validation(FILE, model, given, objective)
    assert not notes
    assert list(arguments) == list(given)
    assert all(arguments[name] is given[name] for name in given)


@pytest.mark.parametrize(("objective", "text"), [(None, ""), ("val_mae:min", ", for `objective` val_mae")])
def test_batches_without_validation_data_are_an_error_with_the_way_out(objective, text):
    with pytest.raises(
        InitxError, match=rf"^data\(\) of 'train\.py' returns batches without .*{text}.*Return"
    ):
        with_validation(FILE, None, {"x": Batches()}, objective)
