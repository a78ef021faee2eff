"""`keras-initx report`: a search as one HTML page."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.errors import InitxError
from keras_initx.tuning import write_report
from keras_initx.tuning.parallel import STORAGE_VARIABLE
from keras_initx.tuning.report import is_storage
from keras_initx.tuning.storage import STUDY_FILE


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="The folder of a search, such as results/tune, or of KerasTuner's; or a storage URL.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The page. [default: report.html in DIR; of a URL, here]"),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where the study of DIR is kept, if the search had --storage. "
            f"[default: what its settings tell, or {STORAGE_VARIABLE}]"
        ),
    ] = None,
    study_name: Annotated[
        str | None, typer.Option(help="Which study of a storage. [default: DIR's name, or the only one]")
    ] = None,
) -> None:
    """Write a search as one HTML file: words, tables, plots, importances, versions and the machine.

    It needs no other file and no network. A search that is still running is reported as far as it is.
    """
    # The variable may stand for other searches.
    if storage is None and not is_storage(source) and not (Path(source) / STUDY_FILE).is_file():
        storage = os.environ.get(STORAGE_VARIABLE) or None
    try:
        written = write_report(source, out, study_name, storage)
    except InitxError as error:
        if error.argument != "source":
            raise
        raise InitxError("DIR", error.received, error.allowed, error.remedy) from error
    common.print_plain(f"Report: {written}")
