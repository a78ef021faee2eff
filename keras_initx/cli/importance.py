"""`keras-initx importance`: show which hyperparameters of a search decided its scores."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from keras_initx.cli import common
from keras_initx.errors import InitxError, printable
from keras_initx.tuning import contains_study, importances


def importance(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder of a search, such as results/tune, or of a KerasTuner search."
        ),
    ],
    storage: Annotated[
        str | None,
        typer.Option(
            envvar=common.STORAGE_VARIABLE,
            help="Where the study is kept, if the search ran with --storage. [default: a file in DIR]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what share of the score differences between trials each hyperparameter explains (fANOVA)."""
    # A folder with its own study needs no storage; the environment variable may belong to another search.
    storage = None if contains_study(folder) else storage
    try:
        with common.renamed(results="DIR", folder="DIR"):
            rows, warning = importances(folder, storage)
    except InitxError as error:
        if error.argument != "objective":
            raise
        remedy = f"Name it: keras-initx import-kerastuner {folder} NEW_DIR --objective METRIC."
        raise InitxError("DIR", str(folder), error.allowed, remedy, error.problem) from error
    if as_json:
        typer.echo(json.dumps({"importances": [asdict(row) for row in rows], "warning": warning}))
        return
    table = Table("hyperparameter", "share", "± over forests")
    for row in rows:
        table.add_row(printable(row.name), f"{100 * row.share:.0f} %", f"{100 * row.spread:.0f} %")
    common.console.print(table)
    if warning:
        common.print_plain(f"Note: {warning}")
