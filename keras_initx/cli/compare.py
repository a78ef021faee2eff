"""`keras-initx compare`: a saved model under several initializers and methods, without training."""

from pathlib import Path
from typing import Annotated

import typer

from keras_initx import compare as compared
from keras_initx.cli import common
from keras_initx.cli.inspect_model import arrays, figure_file, load, save_figure
from keras_initx.model_init import METHODS


def compare(
    file: Annotated[Path, typer.Argument(metavar="MODEL.keras", help="A model saved by Keras.")],
    init: Annotated[
        list[str] | None, typer.Option("--init", metavar="NAME", help="An initializer; repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", metavar="NAME", help=f"One of {', '.join(METHODS)}; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="An array x, or one for each input; y with --loss."),
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="A loss of Keras, with y in --data; else a random projection.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="OUT.png", help="Draw signal by depth, forward and backward.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="A table of every layer, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every figure as JSON.")] = False,
) -> None:
    """Shows the signal through a saved model under several starts. Nothing is trained, or saved."""
    target = figure_file(plot)
    model = load(file)
    x, y = arrays(data, model, loss)
    found = compared(model, init or (), method or (), x, y, loss, seed)
    if as_json:
        typer.echo(found.to_json())
        save_figure(found.plot, target)
        return
    common.console.print(found.table())
    if layers:
        common.console.print(found.layers())
    if save_figure(found.plot, target):
        common.print_plain(f"Figure: {target}")
