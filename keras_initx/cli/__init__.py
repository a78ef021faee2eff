"""The command line: `keras-initx` and its commands, one per file."""

import sys
from collections.abc import Sequence

import typer

from keras_initx.cli import compare, import_kerastuner, importance, inspect_model, report, study, tune
from keras_initx.cli.common import run_safely

app = typer.Typer(
    name="keras-initx",
    help="Weight initialization for Keras 3: compare initializers on real data and tune them.",
    add_completion=False,
    pretty_exceptions_enable=False,
    # Joins the lines of a docstring's paragraph, which are broken for the source.
    rich_markup_mode="markdown",
)
app.command("tune")(tune.tune)
app.command("study")(study.study)
app.command("inspect")(inspect_model.inspect)
app.command("compare")(compare.compare)
app.command("importance")(importance.importance)
app.command("report")(report.report)
app.command("import-kerastuner")(import_kerastuner.import_kerastuner)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; bad input ends with one line on standard error and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run_safely(app, arguments or ["--help"]))


__all__ = ["app", "main"]
