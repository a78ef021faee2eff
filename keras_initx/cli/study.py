"""`keras-initx study`: compare random, Xavier and He initialization as textbooks do."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from keras_initx.cli import common
from keras_initx.errors import check_positive
from keras_initx.tuning import (
    ALL_SCHEMES,
    SCHEMES,
    Execution,
    Results,
    SearchResult,
    accuracy_table,
    compare_schemes,
    scheme_differences,
    scheme_table,
    scheme_verdict,
    schemes_in,
)

from .command_lines import repeat_line

QUICK_EPOCHS = 10
EPOCHS = 100


def study(
    context: typer.Context,
    dataset: common.DatasetOption = None,
    data: common.DataOption = None,
    target: common.TargetOption = None,
    task: common.TaskOption = "auto",
    drop: common.DropOption = None,
    index: common.IndexOption = None,
    encoding: common.EncodingOption = None,
    epochs: Annotated[
        int | None,
        typer.Option(help=f"Epochs of each run. [default: {EPOCHS}; with --quick: {QUICK_EPOCHS}]"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"Train {QUICK_EPOCHS} epochs only, about a minute in all.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Number of runs of each scheme with each activation.")] = 5,
    schemes: Annotated[
        str,
        typer.Option(help=f"Schemes to compare, separated by commas: {', '.join(ALL_SCHEMES)}; or all."),
    ] = ",".join(SCHEMES),
    depth: Annotated[int, typer.Option(help="Number of hidden layers.")] = 3,
    width: Annotated[int, typer.Option(help="Units in each hidden layer.")] = 64,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    results: Annotated[Path, typer.Option(help="Folder for the study and results.json.")] = Path(
        "results/study"
    ),
    logs: common.LogsOption = None,
    resume: common.ResumeOption = False,
    overwrite: common.OverwriteOption = False,
    quiet: common.QuietOption = False,
    as_json: common.JsonOption = False,
    jit_compile: common.JitOption = True,
) -> None:
    """Compare the classical schemes Random, Xavier and He (and more) with ReLU, tanh and sigmoid.

    Trains each scheme with each activation five times. Prints one table for each scheme with a row for
    each run, then the means with their intervals, and which differences are significant.
    """
    if epochs is None:
        epochs = QUICK_EPOCHS if quick else EPOCHS
    loaded = common.load_data(context.params)
    if not as_json:
        common.print_data(loaded)
    result = compare_schemes(
        loaded,
        epochs=epochs,
        seeds=seeds,
        depth=check_positive("depth", depth),
        width=check_positive("width", width),
        schemes=tuple(ALL_SCHEMES) if schemes.strip().lower() == "all" else schemes.split(","),
        seed=seed,
        results=Results(
            results, common.mode_of(resume, overwrite), logs, command=partial(repeat_line, context.obj)
        ),
        execution=Execution(jit_compile),
        **common.verbosity(quiet),
    )
    if as_json:
        common.print_json(result)
        return
    _print(result, width)


def _print(result: SearchResult, width: int) -> None:
    for scheme in schemes_in(result):
        common.console.print()
        common.console.print(scheme_table(result, scheme))
        if verdict := scheme_verdict(scheme, width):
            common.print_plain(f"Before training, in a hidden layer: {verdict}.")
    common.console.print()
    common.console.print(accuracy_table(result))
    common.print_plain(
        "Textbook figures are for another, unnamed data set: compare the order, not the numbers."
    )
    differences = scheme_differences(result)
    if differences:
        common.print_plain("\nWhich differences are real (Games-Howell test, 5 % over all comparisons):")
    else:
        common.print_plain(
            "One run of each pair cannot separate a difference from chance: use --seeds 2 or more."
        )
    for activation, pairs in differences.items():
        for pair in pairs:
            common.print_plain(f"  {activation}: {pair.describe()}")
    common.print_plain("")
    common.print_locations(result)
