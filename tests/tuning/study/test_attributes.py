"""The reason that a study stores for a failed trial."""

import traceback

import keras
import numpy as np
import pytest
from keras_initx.tuning.study.attributes import reason_of

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def traceback_of(function) -> str:
    try:
        function()
    except Exception:
        return traceback.format_exc()
    raise AssertionError("it raised nothing")


def several_lines() -> None:
    raise ValueError("no such column: 'y'\nUse one of:\n  x\nSee the manual.")


def chained() -> None:
    try:
        several_lines()
    except ValueError as error:
        raise KeyError("y") from error


def wrong_shape() -> None:
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])(np.ones((2, 5)))


class Own(keras.layers.Layer):
    def call(self, inputs):
        raise LookupError("an error of the user")


def own_layer() -> None:
    keras.Sequential([keras.Input((3,)), Own()])


def two_at_once() -> None:
    raise ExceptionGroup("two failures", [ValueError("one"), KeyError("two")])


def in_a_graph() -> None:
    raise InvalidArgumentError(
        "Graph execution error:\n\nDetected at node sequential/GatherV2 defined at (most recent call last):\n"
        '  File "a.py", line 1, in <module>\n\n  File "embedding.py", line 196, in call\n\n'
        "indices[0,0] = 99 is not in [0, 5)\n\t [[{{node sequential/GatherV2}}]] [Op:__inference_298]"
    )


class InvalidArgumentError(Exception):
    """TensorFlow's error for a failure in a compiled function."""

    __module__ = "tensorflow.python.framework.errors_impl"


@pytest.mark.parametrize(
    ("function", "start", "end"),
    [
        (several_lines, "ValueError: no such column: 'y'", "'y'"),
        (chained, "KeyError: 'y'", "'y'"),
        # Keras appends the arguments of the call, which say nothing about the error.
        (wrong_shape, "ValueError: Exception encountered when calling Sequential.call(). Input 0", "(2, 5)"),
        (own_layer, "LookupError: Exception encountered when calling Own.call().", "an error of the user"),
        (two_at_once, "ExceptionGroup: two failures", "(2 sub-exceptions)"),
        (in_a_graph, "InvalidArgumentError: indices[0,0] = 99", "is not in [0, 5)"),
    ],
)
def test_line_with_the_exception(function, start: str, end: str) -> None:
    reason = reason_of(traceback_of(function))
    assert reason.startswith(start)
    assert reason.endswith(end)
    assert "\x1b" not in reason


def test_message_without_a_traceback() -> None:
    assert reason_of("ValueError: no such thing\nmore") == "ValueError: no such thing"
    assert reason_of("") == reason_of(None) == ""
