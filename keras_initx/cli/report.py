"""`keras-initx report`: write a search as one HTML page."""

import os
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.tuning import contains_study, write_report


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="The folder of a search, such as results/tune, or of a KerasTuner search; or a storage URL.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page. [default: report.html in DIR, or in the working directory for a URL]",
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where the study of DIR is kept, if the search ran with --storage. "
            f"[default: a file in DIR, or {common.STORAGE_VARIABLE}]"
        ),
    ] = None,
    study_name: Annotated[
        str | None,
        typer.Option(help="The study of a storage to report. [default: the name of DIR, or the only study]"),
    ] = None,
) -> None:
    """Write a search as one HTML file: summary, tables, plots, importances, versions and the machine.

    The page needs no other file and no network. For a search that is still running, it shows the results
    so far.
    """
    # A folder with its own study needs no storage; the environment variable may belong to another search.
    if storage is None and not contains_study(source):
        storage = os.environ.get(common.STORAGE_VARIABLE) or None
    with common.renamed(source="DIR"):
        page = write_report(source, out, study_name, storage)
    common.print_plain(f"Report: {page}")
