"""`keras-initx importance`: which hyperparameters of a search decided its scores."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from keras_initx.cli import common
from keras_initx.errors import InitxError
from keras_initx.tuning.parallel import STORAGE_VARIABLE
from keras_initx.tuning.report import importances
from keras_initx.tuning.storage import STUDY_FILE


def importance(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder of a search, such as results/tune, or of KerasTuner's."
        ),
    ],
    storage: Annotated[
        str | None,
        typer.Option(
            envvar=STORAGE_VARIABLE,
            help="Where the study is kept, if the search had --storage. [default: what its settings tell]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Shows what share of the differences between trials each hyperparameter explains (fANOVA)."""
    try:
        # The variable may stand for other searches.
        here = (folder / STUDY_FILE).is_file()
        found, warning = importances(folder, None if here else storage)
    except InitxError as error:
        if error.argument == "storage":
            raise
        received = str(folder) if error.argument == "results" else error.received
        remedy = error.remedy
        if error.argument == "objective":
            remedy = f"{remedy} Name it: keras-initx import-kerastuner {folder} NEW_DIR --objective METRIC."
        raise InitxError("DIR", received, error.allowed, remedy) from error
    if as_json:
        typer.echo(json.dumps({"importances": [asdict(row) for row in found], "warning": warning}))
        return
    table = Table("hyperparameter", "share", "± over forests")
    for row in found:
        table.add_row(row.name, f"{100 * row.share:.0f} %", f"{100 * row.spread:.0f} %")
    common.console.print(table)
    if warning:
        common.print_plain(f"Note: {warning}")
