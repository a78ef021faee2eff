"""`keras-initx import-kerastuner`: the folder of a KerasTuner search as a study."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.errors import InitxError
from keras_initx.tuning import read_keras_tuner
from keras_initx.tuning.storage import STUDY_FILE
from keras_initx.tuning.study import status_of

_CALLED = {"folder": "SRC", "results": "DIR", "objective": "--objective"}


def import_kerastuner(
    folder: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="The project folder that KerasTuner wrote; it stays as it is."),
    ],
    results: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder for the study, such as results/old.")
    ],
    objective: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="The trials' value. [default: what the search optimized]"),
    ] = None,
) -> None:
    """Reads a KerasTuner search into an Optuna study, for `keras-initx importance` and Optuna's own tools."""
    try:
        study = read_keras_tuner(folder, results, objective)
    except InitxError as error:
        name = _CALLED.get(error.argument, error.argument)
        raise InitxError(
            name, error.received, error.allowed, error.remedy.replace("objective=", "--objective")
        ) from error
    counts = Counter(status_of(trial) for trial in study.trials)
    told = ", ".join(f"{count} {status}" for status, count in counts.items())
    common.print_plain(f"{len(study.trials)} trials: {told}")
    common.print_plain(f"Importances: keras-initx importance {shlex.quote(str(results))}")
    common.print_plain(f"Dashboard:   optuna-dashboard {shlex.quote(f'sqlite:///{results / STUDY_FILE}')}")
