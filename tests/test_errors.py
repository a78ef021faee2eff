import itertools
import pickle

import keras
import numpy as np
import pytest

from keras_initx import diagnose, initialize, kernel_groups, reinitialize
from keras_initx.errors import InitxError, error_line, printable, unknown_name

pytestmark = pytest.mark.check


def test_the_message_names_argument_value_rule_and_remedy_in_one_line():
    error = InitxError("mode", "fan", "fan_in or fan_out", "Leave it out for the rule's own.")
    assert str(error) == "`mode` must be fan_in or fan_out, got 'fan'. Leave it out for the rule's own."
    assert isinstance(error, ValueError)


def test_the_nearest_name_is_suggested():
    error = unknown_name("initializer", "he_atuo", ["auto", "he_auto"])
    assert (
        str(error)
        == "`initializer` 'he_atuo' is not known. Did you mean 'he_auto'? Known names: auto, he_auto."
    )


def test_no_suggestion_without_a_similar_name():
    assert "Did you mean" not in str(unknown_name("initializer", "qqqq", ["auto", "he_auto"]))


def test_it_survives_pickling_between_processes():
    error = pickle.loads(pickle.dumps(InitxError("x", 1, "2", "3", "4")))
    assert (error.argument, error.received, error.allowed, error.remedy) == ("x", 1, "2", "3")
    assert str(error) == "4. 3"


def test_the_reason_is_the_first_informative_line():
    assert error_line(ZeroDivisionError("division by zero")) == "ZeroDivisionError: division by zero"
    wrapped = (
        "Exception encountered when calling Mine.call().\n\n\x1b[1mno axis\x1b[0m\n\nArguments received: ..."
    )
    assert error_line(ValueError(wrapped)) == "ValueError: no axis"
    # Its text would be quoted, with escapes.
    assert error_line(KeyError(wrapped)) == "KeyError: no axis"
    assert error_line(KeyError()) == "KeyError"
    assert error_line(ValueError("Exception encountered when calling")) == (
        "ValueError: Exception encountered when calling"
    )
    assert error_line(ValueError("A LayerError. Error encountered:\n\nno axis.\n\nArguments: x")) == (
        "ValueError: no axis"
    )
    # TensorFlow's own, with the traceback of a graph in front of the cause.
    text = (
        "Graph execution error:\n\n  File 'a.py', line 3\n\nthe label is 9\n\t [[{{node loss}}]] [Op:__f_3]"
    )
    assert error_line(RuntimeError(text)) == "RuntimeError: the label is 9"
    assert len(error_line(ValueError("x" * 1000))) == 300 + len("ValueError: ")
    assert error_line(KeyError()) == "KeyError"


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends take any index")
@pytest.mark.parametrize("compiled", [False, True])
def test_the_reason_of_an_index_that_is_too_large(compiled):
    model = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 2)])
    ids = np.array([[0, 9, 1]])
    model.compile(loss="mse", jit_compile=False)
    call = model.predict_on_batch if compiled else model
    with pytest.raises(Exception, match="indices") as caught:
        call(ids)
    assert error_line(caught.value) == "InvalidArgumentError: indices[0,1] = 9 is not in [0, 5)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain äöü 漢字 \U0001f600 \u200d", "plain äöü 漢字 \U0001f600 \u200d"),
        ("\x00\x1b[2J\x7f\x85\x9b", r"\x00\x1b[2J\x7f\x85\x9b"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\u202e\u2028\u2066", r"\u202e\u2028\u2066"),
        ("\ud83d", r"\ud83d"),
    ],
)
def test_control_characters_are_written_out(text, shown):
    assert printable(text) == shown


def test_line_breaks_may_stay():
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"


def test_the_reason_has_no_control_characters():
    assert (
        error_line(ValueError("layer \x1b]0;title\x07 failed"))
        == r"ValueError: layer \x1b]0;title\x07 failed"
    )


class Parts(keras.Model):
    """A model that only its `train_step` computes, as a GAN."""

    def __init__(self, **parts):
        super().__init__(name="parts")
        for name, part in parts.items():
            setattr(self, name, part)


def network():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


# To draw the kernels of a built model takes no call.
@pytest.mark.parametrize(
    ("function", "is_built"),
    [*itertools.product([initialize, diagnose, kernel_groups], [False, True]), (reinitialize, False)],
)
def test_a_model_without_a_call_names_its_parts(function, is_built):
    model = Parts(generator=network(), scale=keras.layers.Dense(2), critic=network())
    model.built = is_built
    with pytest.raises(InitxError) as error:
        function(model)
    assert str(error.value) == "`model` 'parts' has no `call`. Pass model.generator or model.critic."
    with pytest.raises(InitxError, match=r"^`model` 'parts' has no `call`\. Give it a `call`"):
        function(Parts(layer=keras.layers.Dense(2)))
    # Each part is a model of its own.
    function(model.generator)
