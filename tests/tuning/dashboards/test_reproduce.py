"""Test the page on how to repeat a search: its calls have the arguments of the search."""

import ast

import pytest
from keras_initx.tuning.dashboards.reproduce import reproduce_page
from keras_initx.tuning.study.results import TrialResult

pytestmark = pytest.mark.one_backend

SETTINGS = {
    "version": "0.1.0",
    "data": "digits [abc]",
    "tuner": "tpe",
    "trials": 7,
    "epochs": 3,
    "seeds": [4, 5],
    "batch_size": 32,
    "patience": None,
    "objective": "val_accuracy",
    "target": None,
    "screening": True,
    "jit_compile": False,
    "strategy": None,
    "pruner": ["median"],
    "extra_seeds": 6,
    "seed": 4,
}
VALUES = {"initializer": "he_auto", "activation": "tanh", "learning_rate": 0.003}
BEST = TrialResult(3, VALUES, "completed")


def blocks(page):
    return [part.split("\n", 1)[1].strip() for part in page.split("```")[1::2]]


def arguments(block):
    call = ast.parse(block).body[0].value
    return {keyword.arg: value_of(keyword.value) for keyword in call.keywords}


def value_of(node):
    """Return a literal, or the arguments of a group of options with its name."""
    return (
        (node.func.id, arguments(ast.unparse(node))) if isinstance(node, ast.Call) else ast.literal_eval(node)
    )


def test_a_call():
    search, best = map(arguments, blocks(reproduce_page(BEST, SETTINGS)))
    common = {
        "epochs": 3,
        "seeds": [4, 5],
        "batch_size": 32,
        "objective": "val_accuracy",
        "execution": ("Execution", {"jit_compile": False}),
    }
    stopping = ("Stopping", {"screening": True, "pruner": ["median"]})
    more = {"tuner": "tpe", "trials": 7, "seed": 4, "extra_seeds": 6, "stopping": stopping}
    assert search == common | more
    alone = {"tuner": "random", "trials": 1, "enqueue": [VALUES], "results": "results/best"}
    assert best == common | alone | {"stopping": ("Stopping", {"screening": True})}


def test_command_lines():
    search, best = blocks(reproduce_page(BEST, SETTINGS, lambda values: f"repeat {values}"))
    assert search == "repeat None"
    assert best == f"repeat {VALUES}"


def test_a_trial_without_a_command_line_is_repeated_in_python():
    search, best = blocks(reproduce_page(BEST, SETTINGS, lambda values: None if values else "search"))
    assert search == "search"
    assert arguments(best)["enqueue"] == [VALUES]


def test_without_a_completed_trial():
    assert len(blocks(reproduce_page(None, SETTINGS))) == 1
