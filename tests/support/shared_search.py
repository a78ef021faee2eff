"""A search that several processes share, and what a single process finds in it."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.made_once import made_once

_TUNE = [
    "tune", "--dataset", "iris", "--initializers", "he_auto,he_normal,auto", "--activations", "relu,tanh",
    "--learning-rates", "0.003", "--epochs", "3", "--seeds", "2", "--depth", "1",
    "--no-jit-compile", "--quiet",
]  # fmt: skip


def command(folder: Path, *options: str) -> list[str]:
    """Return the arguments of `keras-initx` for the search: six trials of two seeds."""
    return [*_TUNE, *options, "--results", str(folder / "results"), "--logs", str(folder / "logs")]


def curves(folder: Path, seeds: int | None = None) -> dict[str, Any]:
    """Return the curves of each trial's first seeds, by its hyperparameters."""
    trials = json.loads((folder / "results/results.json").read_text())["trials"]
    return {
        json.dumps(t["hyperparameters"], sort_keys=True): [
            record["curves"] for record in list(t["seeds"].values())[:seeds]
        ]
        for t in trials
    }


def of_one_process(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the search by one process, with six extra seeds.

    It runs apart from the tests, because a worker of `keras-initx` has the same settings of TensorFlow then.
    """

    def make(folder: Path) -> None:
        processes.run(processes.command_line, *command(folder, "--extra-seeds", "6"), output=folder / "out")

    return made_once(factory, "one_process", make)
