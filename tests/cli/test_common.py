"""Test what the commands share: help, and arguments called by their options."""

import re

import pytest

from keras_initx import InitxError
from keras_initx.cli.common import OPTIONS, renamed, reworded
from tests.support.commands import run

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def test_help_and_no_arguments(capsys):
    code, out, _ = run(capsys)
    assert code == 0
    assert "tune" in out
    assert "study" in out
    code, out, _ = run(capsys, "tune", "--help")
    assert code == 0
    for option in ("--data", "--target", "--task", "--tuner", "--trials", "--resume", "--quiet"):
        assert option in out
    code, _, err = run(capsys, "tuen")
    assert code == 2
    assert re.fullmatch(r"error: .*'tuen'.*\. See keras-initx --help\.", err.strip())


def test_an_error_calls_arguments_by_their_options():
    problem = 'mode="resume" and mode="overwrite" exclude each other, as do `results` and resumed'
    error = reworded(InitxError("resume", True, "False", 'Drop mode="resume".', problem), OPTIONS)
    text = "--resume and --overwrite exclude each other, as do --results and resumed. Drop --resume."
    assert str(error) == text
    assert error.argument == "--resume"
    for foreign in ("Keras: `target` and `output` differ", "build() failed (ValueError: `target` is odd)"):
        error = reworded(InitxError("target", 1, "", f"See `data`. {foreign}", "`target` 1"), OPTIONS)
        assert str(error) == f"--target 1. See --data. {foreign}"
    with (
        pytest.raises(InitxError, match=r"^--data must be a table, got 3\. See `rows`\.$"),
        renamed(path="--data"),
    ):
        raise InitxError("path", 3, "a table", "See `rows`.")
