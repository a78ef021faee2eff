"""Arrays that cannot be trained on are refused under the name of their argument."""

from typing import Any

import keras
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
    with pytest.raises(
        InitxError, match=r"^`x` and `y` of `test_data` must have the same number of rows, got 6 and 5\.$"
    ) as caught:
        checked_test((X, Y[:5]))
    assert caught.value.argument == "test_data"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": X, "y": Y[:5]}, r"`x` and `y` must have the same number of rows, got 6 and 5\."),
        (
            {"x": {"a": X, "b": X[:5], "c": X}, "y": Y},
            r"`x\['a'\]` and `x\['b'\]` must have .* got 6 and 5\.",
        ),
        ({"x": X, "y": [Y, Y[:5]]}, r"`x` and `y\[1\]` must have the same number of rows, got 6 and 5\."),
        (
            {"x": X, "y": [np.float32(1)] * 6},
            r"`y\[0\]` must be an array .* Convert a list with np.array\(y\)\.",
        ),
        ({"x": X, "y": Y, "sample_weight": np.float32(1)}, "`sample_weight` must be an array with one entry"),
        ({"x": X[:0], "y": Y[:0]}, "`x` must have at least one row"),
        (
            {"x": X.astype(str), "y": Y},
            r"`x` must be numbers, got dtype <U32\. Pass a tf.data.Dataset or, on ",
        ),
        ({"x": X.astype(object), "y": Y}, "`x` must be numbers, got dtype object"),
        ({"x": np.array([*"abcdef"], dtype="S"), "y": Y}, "`x` must be numbers, got dtype"),
        ({"x": np.array([["a"]] * 6, dtype=object), "y": Y}, "`x` must be numbers, got dtype object"),
        ({"x": X, "y": np.array([*"abcdef"], dtype=object)}, "`y` must be numbers, .* np.unique"),
    ],
)
def test_the_array_is_named(data: Any, message: str) -> None:
    with pytest.raises(InitxError, match=f"^{message}"):
        check_data(FitArguments((), data))


@pytest.mark.parametrize("name", ["x", "y"])
def test_a_value_that_is_not_finite_causes_a_warning_at_the_call(name: str) -> None:
    data = {"x": np.ones((6, 2)), "y": np.ones((6, 2))}
    data[name][3, 1] = np.inf
    with pytest.warns(UserWarning, match=rf"^`{name}` contains inf at index \(3, 1\)\. ") as caught:
        check_data(FitArguments((), data))
    assert caught[0].filename == __file__


def test_strings_as_keras_takes_them() -> None:
    """On TensorFlow Keras reads a one-dimensional array of `str`."""
    texts = np.array(["good day", "bad day", "bad", "good"] * 4, dtype=object)
    labels = np.array([0, 1, 1, 0] * 4)
    data = FitArguments((texts, labels), {"validation_data": (texts[:4], labels[:4])})
    if keras.config.backend() != "tensorflow":
        with pytest.raises(InitxError, match=r"^`x` must be numbers, got dtype object"):
            check_data(data)
        return
    check_data(data)
    words = keras.layers.TextVectorization(max_tokens=10, output_sequence_length=2)
    words.adapt(["good day", "bad day"])
    model = keras.Sequential(
        [keras.Input((), dtype="string"), words, keras.layers.Embedding(10, 2), keras.layers.Flatten()]
    )
    model.add(keras.layers.Dense(2))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    assert data.rows == 16
    assert np.isfinite(data.batches[0].train(model)["loss"])
    assert "val_loss" in model.fit(**data.for_run()).history
    split = FitArguments((texts, labels), {"validation_split": 0.25})
    assert "val_loss" in model.fit(**split.for_run()).history
