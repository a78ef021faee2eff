"""Test `keras-initx tune model.keras --data arrays.npz`: the parts of the arrays, and a whole search."""

import json

import keras
import numpy as np
import pytest

from keras_initx import InitxError
from keras_initx.cli.subjects.saved_model import load_saved
from tests.support.commands import run

pytestmark = pytest.mark.one_backend

ROWS = 60
X = np.arange(ROWS * 4, dtype="float32").reshape(ROWS, 4)
Y = np.arange(ROWS) % 3


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(file := tmp_path_factory.mktemp("one") / "one.keras")
    return file


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    inputs = [keras.Input((4,), name="a"), keras.Input((2,), name="b")]
    joined = keras.layers.Concatenate()(inputs)
    model = keras.Model(
        inputs, [keras.layers.Dense(1, name="p")(joined), keras.layers.Dense(2, name="q")(joined)]
    )
    model.compile("adam", "mse")
    model.save(file := tmp_path_factory.mktemp("two") / "two.keras")
    return file


def arguments(model, folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return load_saved(model, folder / "a.npz")[1]


def test_rows_are_split_without_overlap_and_keep_their_labels(one, tmp_path):
    found = arguments(one, tmp_path, x=X, y=Y)
    parts = [(found["x"], found["y"]), found["validation_data"], found["test_data"]]
    assert [len(x) for x, _ in parts] == [36, 12, 12]
    rows = np.concatenate([x[:, 0] for x, _ in parts]) / 4
    assert sorted(rows) == list(range(ROWS))
    np.testing.assert_array_equal(np.concatenate([y for _, y in parts]), rows % 3)


def test_given_parts_are_kept(one, tmp_path):
    parts = {"x_validation": X[:5], "y_validation": Y[:5], "x_test": X[5:9], "y_test": Y[5:9]}
    found = arguments(one, tmp_path, x_train=X, y_train=Y, sample_weight=np.ones(ROWS), **parts)
    assert sorted(found["x"][:, 0]) == sorted(X[:, 0])
    np.testing.assert_array_equal(found["validation_data"][0], X[:5])
    np.testing.assert_array_equal(found["test_data"][1], Y[5:9])
    assert len(found["sample_weight"]) == ROWS


def test_arrays_by_the_names_of_inputs_and_outputs(two, tmp_path):
    found = arguments(two, tmp_path, a=X, b=X[:, :2], p=Y, q=X[:, 2:])
    assert {name: values.shape for name, values in found["x"].items()} == {"a": (36, 4), "b": (36, 2)}
    assert set(found["y"]) == {"p", "q"}
    x, y = found["test_data"]
    np.testing.assert_array_equal(x["a"][:, :2], x["b"])
    np.testing.assert_array_equal(x["a"][:, 2:], y["q"])


def test_strings_become_objects(one, tmp_path):
    assert arguments(one, tmp_path, x=np.array([["a", "b"]] * 9), y=Y[:9])["x"].dtype == object


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": Y}, "has neither x nor 'input"),
        ({"x": X, "y": Y[:-1]}, "arrays of equal length, with at least one row, got 60 of x, 59 of y"),
        ({"x": X[:0], "y": Y[:0]}, "with at least one row, got 0 of x"),
        ({"x": X[:2], "y": Y[:2]}, "at least 3 rows"),
        ({"x": X, "y": Y, "extra": Y}, "'extra' is not known.*_validation or _test"),
        ({"x": X, "y": Y, "x_valid": X}, "'x_valid' is not known"),
    ],
)
def test_refuses_arrays(one, tmp_path, arrays, message):
    with pytest.raises(InitxError, match=f"^`data` .*{message}"):
        arguments(one, tmp_path, **arrays)


def test_refuses_arrays_that_say_the_same_twice_or_lack_an_input(two, tmp_path):
    with pytest.raises(InitxError, match=r"has both x and 'a'\. Leave out one"):
        arguments(two, tmp_path, x=X, a=X, y=Y)
    with pytest.raises(InitxError, match="has neither x nor 'b', an input of the model"):
        arguments(two, tmp_path, a=X, p=Y, q=X[:, 2:])


def test_refuses_a_model_without_a_loss(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).save(tmp_path / "raw.keras")
    with pytest.raises(InitxError, match=r"is not compiled, .* Call model\.compile"):
        arguments(tmp_path / "raw.keras", tmp_path, x=X, y=Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "A saved model needs --data. Pass --data FILE.npz"),
        (["--data", "a.npz", "--target", "y"], "--target does not apply to a saved model."),
        (["--data", "a.npz", "--depth", "3"], "--depth does not apply to a saved model."),
    ],
)
def test_options_that_do_not_apply(capsys, in_a_new_folder, one, options, message):
    code, _, err = run(capsys, "tune", str(one), *options)
    assert code == 2
    assert err.startswith(f"error: {message}")


def test_a_file_of_another_kind(capsys, in_a_new_folder):
    code, _, err = run(capsys, "tune", "table.csv", "--target", "y")
    assert code == 2
    assert err.startswith(
        "error: FILE must be a Python file (.py) or a saved model (.keras), got 'table.csv'."
    )


def test_a_search_of_a_saved_model(capsys, in_a_new_folder, two):
    np.savez("own.npz", a=X, b=X[:, :2], p=Y[:, None] / 2, q=X[:, 2:])
    few = ["--trials", "1", "--seeds", "1", "--epochs", "1", "--no-jit-compile", "--quiet"]
    code, out, err = run(capsys, "tune", str(two), "--data", "own.npz", *few, "--learning-rates", "0.01")
    assert code == 0, err
    assert "validation loss" in out
    assert "test loss" in out
    settings = json.loads((in_a_new_folder / "results/tune/results.json").read_text())["settings"]
    assert settings["objective"] == "val_loss"
    assert {"initializer", "learning_rate"} == set(settings["space"])
    best = keras.models.load_model("results/tune/best_model.keras")
    assert best.output_names == ["p", "q"]
