"""Test the page on how to repeat a search: its commands and calls can be run, and contain no password."""

import ast
import shlex

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
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


def test_a_call():
    search, best = map(arguments, blocks(reproduce_page(BEST, SETTINGS)))
    common = {
        "epochs": 3,
        "seeds": [4, 5],
        "batch_size": 32,
        "objective": "val_accuracy",
        "screening": True,
        "jit_compile": False,
    }
    more = {"tuner": "tpe", "trials": 7, "seed": 4, "pruner": ["median"], "extra_seeds": 6}
    assert search == common | more
    assert best == common | {"tuner": "random", "trials": 1, "enqueue": [VALUES], "results": "results/best"}


def test_a_command():
    command = shlex.split(
        "keras-initx tune --csv 'my table.csv' --target label --tuner=tpe --trials 7 "
        "--initializers auto,he_auto "
        "--seeds 2 --workers 2 --results results/t --overwrite"
    )
    search, best = blocks(reproduce_page(BEST, SETTINGS, command))
    assert shlex.split(search) == command[:-1]
    assert best == (
        "keras-initx tune --csv 'my table.csv' --target label --seeds 2 --tuner grid --initializers he_auto "
        "--activations tanh --learning-rates 0.003 --results results/best"
    )


def test_a_value_without_an_option_is_repeated_in_python():
    command = ["keras-initx", "study", "--quick"]
    search, best = blocks(reproduce_page(BEST, SETTINGS, command))
    assert search == "keras-initx study --quick"
    assert arguments(best)["enqueue"] == [VALUES]
    other = TrialResult(3, {**VALUES, "gain": 2.0}, "completed")
    assert arguments(blocks(reproduce_page(other, SETTINGS, ["keras-initx", "tune"]))[1])["trials"] == 1


@pytest.mark.parametrize("joined", [True, False])
def test_no_password(joined):
    url = "postgresql://me:s3cret@host/db?sslpassword=hidden"
    command = ["keras-initx", "tune", *([f"--storage={url}"] if joined else ["--storage", url])]
    page = reproduce_page(BEST, SETTINGS, command)
    assert "postgresql://me:***@host" in page
    assert "s3cret" not in page
    assert "hidden" not in page


def test_without_a_completed_trial():
    assert len(blocks(reproduce_page(None, SETTINGS))) == 1
