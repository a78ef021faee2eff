"""Test the command lines that resume, repeat and join a search: they can be run, and show no password."""

import shlex

import pytest

from keras_initx.cli.command_lines import repeat_line, resume_line, value_of, worker_command

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

VALUES = {"initializer": "he_auto", "activation": "tanh", "learning_rate": 0.003}
TYPED = shlex.split(
    "tune --data 'my table.csv' --target label --tuner=tpe --trials 7 --initializers auto,he_auto --seeds 2 "
    "--workers 2 --results results/t --overwrite"
)


def test_resume_and_join():
    command = ["tune", "--data", "a b.csv", "--overwrite", "--workers", "2", "--storage=x.journal", "--json"]
    assert resume_line(command[:4]) == "keras-initx tune --data 'a b.csv' --resume"
    assert worker_command(command)[1:] == [
        "-P", "-m", "keras_initx.tuning", "--data", "a b.csv", "--join", "--quiet",
    ]  # fmt: skip


def test_repeat_a_search():
    assert shlex.split(repeat_line(TYPED)) == ["keras-initx", *TYPED[:-1]]
    # Joining the search again would find it finished.
    assert repeat_line(["study", "--quick", "--join"]) == "keras-initx study --quick"


def test_repeat_a_trial():
    assert repeat_line(TYPED, VALUES) == (
        "keras-initx tune --data 'my table.csv' --target label --seeds 2 --tuner grid --initializers he_auto "
        "--activations tanh --learning-rates 0.003 --results results/best"
    )


def test_a_trial_that_no_options_describe():
    assert repeat_line(["study", "--quick"], VALUES) is None
    assert repeat_line(TYPED, VALUES | {"gain": 2.0}) is None


@pytest.mark.parametrize("joined", [True, False])
def test_no_password(joined):
    url = "postgresql://me:s3cret@host/db?sslpassword=hidden"
    command = ["tune", *([f"--storage={url}"] if joined else ["--storage", url])]
    for line in (resume_line(command), repeat_line(command), repeat_line(command, VALUES)):
        assert "s3cret" not in line
        assert "hidden" not in line
    assert "postgresql://me:***@host" in resume_line(command)
    # A single trial needs no storage.
    assert "postgresql" not in repeat_line(command, VALUES)


def test_the_last_value_of_an_option_counts():
    assert value_of("--results", ["tune", "--results", "a", "--seeds=2", "--results=b"]) == "b"
    assert value_of("--logs", ["tune", "--results", "a"]) is None
