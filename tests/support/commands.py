"""Run `keras-initx` in this process, and small commands to run."""

from typing import Any

import pytest

from keras_initx.cli import main

SMALL = ["--epochs", "1", "--seeds", "2", "--depth", "1", "--width", "4", "--no-jit-compile"]
INITIALIZERS = ["--initializers", "he_auto,he_normal,zeros"]
OTHERS = ["--activations", "relu,tanh", "--learning-rates", "0.003", "--pruner", "median"]
# Two activations with each initializer: four trials that train, and two that are screened.
TUNE = ["tune", "--dataset", "iris", *SMALL, *INITIALIZERS, *OTHERS]
# The same on data that --data names.
TUNE_OWN = ["tune", *SMALL, *INITIALIZERS, *OTHERS]
# A single trial with a single seed.
ONE = ["--initializers", "he_auto", "--activations", "relu", "--seeds", "1"]


def exit_code(*arguments: Any) -> int:
    """Run a command and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return stopped.value.code


def run(capsys: Any, *arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit code and what it printed on standard output and standard error."""
    return (exit_code(*arguments), *capsys.readouterr())
