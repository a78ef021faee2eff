"""`keras-initx inspect`: show the plan of `initialize` for a saved model, and apply it on request."""

import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
import typer

from keras_initx import diagnose, initialize, plot_signals
from keras_initx.cli import common
from keras_initx.errors import InitxError, error_line
from keras_initx.model_init import METHODS

_LEGEND = (
    "rms as drawn, rms scaled: the root mean square of an output with the new values, before and after they "
    "are scaled. A weight that is not drawn has its own values in both. --plot shows the saved model too."
)


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE.keras", help="A model saved by Keras.")],
    apply: Annotated[
        Path | None, typer.Option("--apply", metavar="OUT.keras", help="Save the initialized model here.")
    ] = None,
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Seed that makes the weights reproducible.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Pattern of layer paths to initialize; repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Pattern of layer paths to leave unchanged; repeatable.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.npz", help="Data to scale on: an array x, or one array for each input."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Plot the signal by depth, before and after."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --apply replace a file that exists.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
) -> None:
    """Show the role, method, scale and reason for each weight of a saved model.

    Nothing is written without --apply.
    """
    if apply is not None:
        _check_target(file, apply, overwrite)
    elif overwrite:
        problem = "`overwrite` needs --apply: without it nothing is written"
        raise InitxError("overwrite", True, "left out without --apply", "Add --apply OUT.keras.", problem)
    target = figure_file(plot)
    model = load(file)
    x, _ = load_arrays(data, model)
    with common.renamed(x="--data"):
        before = None if target is None else diagnose(model, x)
        plan = initialize(
            model,
            method,
            data=x,
            seed=seed,
            only=only or None,
            skip=skip or None,
            # A plot needs the initialized model. The loaded copy may change: only --apply saves it.
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
    common.print_plain(_LEGEND)
    if target is not None:
        common.print_plain(f"Figure: {target}")
    if apply is not None:
        common.print_plain(f"Saved: {apply}")


def load(
    file: Path,
    compiled: bool = False,
    name: str = "FILE.keras",
    instead: str = "keras_initx.initialize(model)",
) -> keras.Model:
    """Load a saved model.

    Args:
        file: The file.
        compiled: Whether to load its loss and optimizer too.
        name: The name of the argument, for errors.
        instead: The call in Python that an error recommends for a model of the user's own classes.

    Raises:
        InitxError: If the file does not exist, or Keras cannot load it.
    """
    allowed, remedy = "an existing file that ends in .keras", ""
    if file.suffix != ".keras":
        remedy = "Save the model with model.save('FILE.keras')."
    if remedy or not file.is_file():
        problem = f"{name} must be {allowed}, got {str(file)!r}"
        raise InitxError(name, str(file), allowed, remedy, problem)
    try:
        return keras.saving.load_model(file, compile=compiled)
    except Exception as error:
        remedy = f"If it uses your own classes, call {instead} in Python instead."
        # Keras names the class at the end of a message that quotes the whole model.
        missing = re.search(r"Could not locate (class|function) '([^']+)'", str(error))
        reason = f"it does not know the {missing[1]} {missing[2]!r}" if missing else error_line(error)
        problem = f"{name} {str(file)!r} cannot be loaded by Keras ({reason})"
        allowed = "a model that Keras can load by itself"
        raise InitxError(name, str(file), allowed, remedy, problem) from error


def _check_target(file: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".keras":
        raise InitxError("apply", str(target), "a file name that ends in .keras")
    if target.exists() and file.exists() and target.samefile(file):
        remedy = "Choose another file name."
        raise InitxError("apply", str(target), "a file other than the model itself", remedy)
    if target.is_dir():
        problem = f"`apply` {str(target)!r} is a folder"
        raise InitxError("apply", str(target), "a file", "Choose another file name.", problem)
    # A broken link does not exist, but writing to it would create the file that it names.
    if (target.exists() or target.is_symlink()) and not overwrite:
        remedy = "Choose another file name, or add --overwrite."
        raise InitxError("apply", str(target), "a new file", remedy, f"`apply` {str(target)!r} exists")
    _check_folder("apply", target)


def _check_folder(option: str, file: Path) -> None:
    if not file.absolute().parent.is_dir():
        problem = f"`{option}` {str(file)!r} is in a folder that does not exist"
        raise InitxError(
            option, str(file), "a file in an existing folder", "Create the folder first.", problem
        )


def figure_file(file: Path | None) -> Path | None:
    """Return the file for a figure, checked before the work begins.

    Raises:
        InitxError: If the folder does not exist, or matplotlib does not write files of this type.
    """
    if file is None:
        return None
    if file.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InitxError("plot", str(file), "a file that ends in .png, .pdf or .svg")
    _check_folder("plot", file)
    return file


def save_figure(draw: Callable[[], Any], file: Path | None) -> bool:
    """Plot and write a figure if `file` is not None; return whether it was written.

    Raises:
        InitxError: If the file cannot be written.
    """
    if file is None:
        return False
    try:
        draw().savefig(file, dpi=150)
    except OSError as error:
        problem = f"`plot` {str(file)!r} cannot be written ({error.strerror})"
        raise InitxError("plot", str(file), "a writable file", "Choose another file.", problem) from error
    return True


def load_arrays(file: Path | None, model: keras.Model, loss: str | None = None) -> tuple[Any, Any]:
    """Return x and y from an .npz file.

    x is the array of that name, or a dict of arrays by the names of the model's inputs. y is None without a
    loss. Both are None without a file.

    Raises:
        InitxError: If the file has no such arrays, or there is a loss but no file.
    """
    if file is None:
        if loss is not None:
            problem = f"`loss` {loss!r} needs targets"
            remedy = "Pass --data FILE.npz with the arrays x and y."
            raise InitxError("loss", loss, "a loss together with --data", remedy, problem)
        return None, None
    allowed = "an .npz file with an array x, or one for each input of the model by its name"
    allowed += "" if loss is None else ", and an array y"
    by_name = read_arrays(file, allowed)
    y = by_name.pop("y", None)
    inputs = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    # A model that records no inputs may take a dict of any names.
    is_unknown = bool(inputs) and "x" not in by_name and not set(inputs) <= set(by_name)
    if not by_name or is_unknown or (loss is not None and y is None):
        names = ", ".join(by_name) or "no array for an input"
        allowed += f" (its inputs: {', '.join(inputs)})" if inputs else ""
        problem = f"`data` must be {allowed}, but {str(file)!r} has {names}"
        raise InitxError("data", f"{file} with the arrays {list(by_name)}", allowed, "", problem)
    is_named = "x" not in by_name or (len(inputs) > 1 and set(inputs) <= set(by_name))
    return by_name if is_named else by_name["x"], y if loss is not None else None


def read_arrays(file: Path, allowed: str) -> dict[str, np.ndarray]:
    """Return all arrays of an .npz file by name.

    Args:
        file: The file.
        allowed: What the file must be, for an error.

    Raises:
        InitxError: If the file cannot be read.
    """
    try:
        # If NumPy opens the file itself, it does not close one with a broken zip directory.
        with file.open("rb") as opened, np.load(opened) as archive:
            return {name: archive[name] for name in archive}
    # A damaged header may claim terabytes, which NumPy tries to reserve.
    except (
        OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        problem = f"`data` must be {allowed}, got {str(file)!r} ({error_line(error)})"
        raise InitxError("data", str(file), allowed, "", problem) from error
