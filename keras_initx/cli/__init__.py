"""The command line: `keras-initx` and its commands, a file each."""

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
    # Reflows the paragraphs of a docstring, which are broken for the source and not for the terminal.
    rich_markup_mode="markdown",
)
app.command("tune")(tune.tune)
app.command("study")(study.study)
app.command("inspect")(inspect_model.inspect)
app.command("compare")(compare.compare)
app.command("importance")(importance.importance)
app.command("report")(report.report)
app.command("import-kerastuner")(import_kerastuner.import_kerastuner)


@app.callback()
def _commands() -> None:
    """Keeps `tune` and `study` commands of their own: typer folds a single command into the program."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; bad input ends with one line on standard error and exit code 2."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run_safely(app, arguments or ["--help"]))


__all__ = ["app", "main"]
