"""`keras-initx inspect`: what `initialize` would do to a saved model, and does if asked."""

from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

from keras_initx import initialize
from keras_initx.cli import common
from keras_initx.errors import InitxError
from keras_initx.methods import METHODS


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
        Path | None, typer.Option(metavar="FILE.npz", help="An array x to scale on, in place of noise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Shows for each weight of a saved model its place, the method that suits it, its scale and the reason.

    Nothing is written without --apply.
    """
    if apply is not None:
        _check_target(file, apply)
    model = load(file)
    plan = initialize(
        model,
        method,
        data=_array(data),
        seed=seed,
        only=only or None,
        skip=skip or None,
        dry_run=apply is None,
    )
    if apply is not None:
        model.save(apply)
    if as_json:
        typer.echo(plan.to_json())
        return
    common.console.print(plan.table())
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


def _array(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        with np.load(file) as arrays:
            return arrays["x"]
    except (OSError, ValueError, KeyError) as error:
        raise InitxError("--data", str(file), "an .npz file with an array x") from error
