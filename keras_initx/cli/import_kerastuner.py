"""`keras-initx import-kerastuner`: read the folder of a KerasTuner search into a study."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.tuning import STUDY_FILE, read_keras_tuner, status_of


def import_kerastuner(
    folder: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="The project folder of a KerasTuner search; it stays unchanged."),
    ],
    results: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder for the study, such as results/old.")
    ],
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="The metric to read as the trials' value. [default: the search's objective]",
        ),
    ] = None,
) -> None:
    """Read a KerasTuner search into an Optuna study, for `keras-initx importance` and Optuna's own tools."""
    with common.renamed(folder="SRC", results="DIR", objective="--objective"):
        study = read_keras_tuner(folder, results, objective)
    counts = Counter(status_of(trial) for trial in study.trials)
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
    common.print_plain(f"{len(study.trials)} trials: {statuses}")
    common.print_plain(f"Importances: keras-initx importance {shlex.quote(str(results))}")
    common.print_plain(f"Dashboard:   optuna-dashboard {shlex.quote(f'sqlite:///{results / STUDY_FILE}')}")
