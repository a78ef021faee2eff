"""Test the command lines that resume, repeat and join a search: they can be run, and show no password."""

import shlex

import pytest

from keras_initx.cli.command_lines import repeat_line, resume_line, worker_command

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

VALUES = {"initializer": "he_auto", "activation": "tanh", "learning_rate": 0.003}
TYPED = shlex.split(
    "tune --csv 'my table.csv' --target label --tuner=tpe --trials 7 --initializers auto,he_auto --seeds 2 "
    "--workers 2 --results results/t --overwrite"
)


def test_resume_and_join():
    command = ["tune", "--csv", "a b.csv", "--overwrite", "--workers", "2", "--storage=x.journal", "--json"]
    assert resume_line(command[:4]) == "keras-initx tune --csv 'a b.csv' --resume"
    assert worker_command(command)[1:] == [
        "-m", "keras_initx.tuning", "--csv", "a b.csv", "--join", "--quiet",
    ]  # fmt: skip


def test_repeat_a_search():
    assert shlex.split(repeat_line(TYPED)) == ["keras-initx", *TYPED[:-1]]
    assert repeat_line(["study", "--quick"]) == "keras-initx study --quick"


def test_repeat_a_trial():
    assert repeat_line(TYPED, VALUES) == (
        "keras-initx tune --csv 'my table.csv' --target label --seeds 2 --tuner grid --initializers he_auto "
        "--activations tanh --learning-rates 0.003 --results results/best"
    )


def test_a_trial_that_no_options_describe():
    assert repeat_line(["study", "--quick"], VALUES) is None
    assert repeat_line(TYPED, VALUES | {"gain": 2.0}) is None


@pytest.mark.parametrize("values", [None, VALUES])
@pytest.mark.parametrize("joined", [True, False])
def test_no_password(joined, values):
    url = "postgresql://me:s3cret@host/db?sslpassword=hidden"
    line = repeat_line(["tune", *([f"--storage={url}"] if joined else ["--storage", url])], values)
    assert ("postgresql://me:***@host" in line) is (values is None)
    assert "s3cret" not in line
    assert "hidden" not in line
