"""`keras-initx compare`: diagnose a saved model under several initializers and methods, without training."""

from pathlib import Path
from typing import Annotated

import typer

import keras_initx
from keras_initx.cli import common
from keras_initx.cli.inspect_model import figure_file, load, load_arrays, save_figure
from keras_initx.model_init import METHODS


def compare(
    file: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A model saved by Keras.")],
    init: Annotated[
        list[str] | None, typer.Option("--init", metavar="NAME", help="Name of an initializer; repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="NAME", help=f"One of {', '.join(METHODS)}; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="An array x, or one for each input; with --loss also y."),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Name of a Keras loss; needs y in --data. Default: a random projection of the outputs."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Plot the signal by depth, forward and backward.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Also print a table of every layer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Show the signal through a saved model under several starts. Nothing is trained or saved."""
    target = figure_file(plot)
    model = load(file, name="MODEL.keras", instead="keras_initx.compare(model)")
    x, y = load_arrays(data, model, loss)
    with common.renamed(
        initializer="--init", initializers="--init", methods="--method", x="--data", y="--data"
    ):
        comparison = keras_initx.compare(model, init or (), method or (), x, y, loss, seed)
    if as_json:
        typer.echo(comparison.to_json())
        save_figure(comparison.plot, target)
        return
    common.console.print(comparison.table())
    if layers:
        common.console.print(comparison.layers())
    if save_figure(comparison.plot, target):
        common.print_plain(f"Figure: {target}")
