"""`keras-initx inspect`: what `initialize` would do to a saved model, and does if asked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

from keras_initx import diagnose, initialize, plot_signals
from keras_initx.cli import common
from keras_initx.errors import InitxError
from keras_initx.model_init import METHODS


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.keras", help="A model saved by Keras.")],
    apply: Annotated[
        Path | None, typer.Option("--apply", metavar="OUT.keras", help="Save the initialized model here.")
    ] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Makes the weights repeatable.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Pattern of layer paths to draw; repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Pattern of layer paths to keep; repeatable.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="An array x, or one for each input, to scale on."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Draw signal by depth, as it is and initialized."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Shows for each weight of a saved model its place, the method that suits it, its scale and the reason.

    Nothing is written without --apply.
    """
    if apply is not None:
        _check_target(file, apply)
    target = figure_file(plot)
    model = load(file)
    x = arrays(data, model)[0]
    before = None if target is None else diagnose(model, x)
    plan = initialize(
        model,
        method,
        data=x,
        seed=seed,
        only=only or None,
        skip=skip or None,
        # The model is this process's own: nothing is lost by doing what is only to be shown.
        dry_run=apply is None and target is None,
    )
    if before is not None:
        plan = replace(plan, dry_run=apply is None)
        reports = {"as it is": before, f"initialize: {method}": diagnose(model, x)}
        save_figure(lambda: plot_signals(reports), target)
    if apply is not None:
        model.save(apply)
    if as_json:
        typer.echo(plan.to_json())
        return
    common.console.print(plan.table())
    if target is not None:
        common.print_plain(f"Figure: {target}")
    if apply is not None:
        common.print_plain(f"Saved: {apply}")


def load(file: Path) -> keras.Model:
    """A saved model.

    Raises:
        InitxError: No such file, or one that Keras cannot load here.
    """
    if not file.is_file():
        raise InitxError("FILE.keras", str(file), "a file that is there")
    if file.suffix != ".keras":
        raise InitxError("FILE.keras", str(file), "a model saved as FILE.keras")
    try:
        return keras.saving.load_model(file, compile=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        remedy = "A model with classes of your own is initialized in Python: keras_initx.initialize(model)."
        allowed = f"a model that Keras can load by itself ({type(error).__name__}: {reason})"
        raise InitxError("FILE.keras", str(file), allowed, remedy) from error


def _check_target(file: Path, target: Path) -> None:
    if target.suffix != ".keras":
        raise InitxError("--apply", str(target), "a file name that ends in .keras")
    if target.exists() and file.exists() and target.samefile(file):
        raise InitxError("--apply", str(target), "another file than the model itself")
    if not target.absolute().parent.is_dir():
        raise InitxError("--apply", str(target), "a file in a folder that is there")


def figure_file(file: Path | None) -> Path | None:
    """Where a figure is to go, looked at before the work is done.

    Raises:
        InitxError: A folder that is not there, or an ending that matplotlib does not write.
    """
    if file is None:
        return None
    known = ("png", "pdf", "svg")
    if file.suffix.removeprefix(".").lower() not in known:
        raise InitxError("--plot", str(file), f"a file that ends in .{', .'.join(known)}")
    if not file.absolute().parent.is_dir():
        raise InitxError("--plot", str(file), "a file in a folder that is there")
    return file


def save_figure(draw: Callable[[], Any], file: Path | None) -> bool:
    """Draws and writes a figure, if a file is given for it; returns whether.

    Raises:
        InitxError: A file that cannot be written.
    """
    if file is None:
        return False
    try:
        draw().savefig(file, dpi=150)
    except OSError as error:
        raise InitxError("--plot", str(file), f"a file that can be written ({error.strerror})") from error
    return True


def arrays(file: Path | None, model: keras.Model, loss: str | None = None) -> tuple[Any, Any]:
    """x of an .npz file, or its arrays by the names of inputs, and with a loss its y; None for the rest.

    Raises:
        InitxError: A file without them; a loss without a file.
    """
    if file is None:
        if loss is not None:
            raise InitxError("--loss", loss, "--loss together with --data, which has x and y")
        return None, None
    allowed = "an .npz file with an array x, or one for each input of the model by its name"
    allowed += "" if loss is None else ", and an array y"
    try:
        with np.load(file) as opened:
            found = {name: opened[name] for name in opened}
    except (OSError, ValueError, TypeError) as error:
        raise InitxError("--data", str(file), allowed) from error
    y = found.pop("y", None)
    if not found or (loss is not None and y is None):
        raise InitxError("--data", f"{file} with the arrays {list(found)}", allowed)
    names = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    is_named = "x" not in found or (len(names) > 1 and set(names) <= set(found))
    return found if is_named else found["x"], y if loss is not None else None
