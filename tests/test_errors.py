import pickle

import pytest

from keras_initx.errors import InitxError, error_line, unknown_name

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
    assert error_line(ValueError("Exception encountered when calling")) == (
        "ValueError: Exception encountered when calling"
    )
    assert error_line(ValueError("A LayerError. Error encountered:\n\nno axis.\n\nArguments: x")) == (
        "ValueError: no axis"
    )
    # TensorFlow's own, with the traceback of the graph in front of the cause.
    text = "Graph execution error:\n\n  File 'a.py', line 3\n\nthe label is 9\n\t [[{{node loss}}]]"
    assert error_line(type("InvalidArgumentError", (Exception,), {})(text)) == (
        "InvalidArgumentError: the label is 9"
    )
    assert len(error_line(ValueError("x" * 1000))) == 300 + len("ValueError: ")
    assert error_line(KeyError()) == "KeyError"
