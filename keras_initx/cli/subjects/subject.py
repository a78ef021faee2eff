"""What `keras-initx tune` trains: a dense network on a data set, a Python file's model, or a saved one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import typer

from keras_initx.cli import common
from keras_initx.errors import InitxError
from keras_initx.tuning import (
    DEFAULT_INITIALIZERS,
    DEFAULT_LEARNING_RATES,
    Dataset,
    DenseNetwork,
    SearchSpace,
)

from .held_back import with_validation
from .saved_model import load_saved
from .script import load_script

# The options that apply to some inputs only; no option is ever ignored.
_OF_TABLES = (
    *("dataset", "data", "target", "task", "drop", "index", "encoding"),
    *("activations", "depth", "width"),
)
_UNUSED = {
    ".py": (_OF_TABLES, "a Python file, whose build() and data() decide that"),
    ".keras": ([name for name in _OF_TABLES if name != "data"], "a saved model"),
}


@dataclass(frozen=True)
class Subject:
    """A model and its data, for `search`.

    Attributes:
        model: What `search` takes for a model.
        arguments: The arguments of `fit`, and `test_data`.
        space: What to search besides the model's own hyperparameters.
        tuner: The default of --tuner.
        objective: The default of --objective; None is val_accuracy or val_loss, as the model reports.
        labels: The training labels, for weights of the classes; None if they are not known.
        classes: The name of each class number; empty if the classes have numbers only.
        metrics: What --objective may name, and whether "min" or "max" of it is best; empty if not known.
        notes: What was decided about the data, a sentence each.
    """

    model: Any
    arguments: dict[str, Any]
    space: SearchSpace | None = None
    tuner: str = "tpe"
    objective: str | keras_tuner.Objective | None = None
    labels: Any = None
    classes: Sequence[str] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def given(context: typer.Context) -> set[str]:
    """Return the parameters that were passed on the command line, even with their default value."""
    return {
        name
        for name in context.params
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def check_used(context: typer.Context, file: Path) -> None:
    """Raise an `InitxError` for a command-line option that does not apply to a file.

    Raises:
        InitxError: There is such an option, or the file is of another kind.
    """
    if file.suffix not in _UNUSED:
        allowed = "a Python file (.py) or a saved model (.keras)"
        problem = f"FILE must be {allowed}, got {str(file)!r}"
        raise InitxError("FILE", str(file), allowed, "Pass a table or arrays as `data=FILE`.", problem)
    unused, reason = _UNUSED[file.suffix]
    for name in unused:
        if name in given(context):
            problem = f"`{name}` does not apply to {reason}"
            raise InitxError(name, context.params[name], "left out", "Leave it out.", problem)


def of_dataset(options: Mapping[str, Any]) -> Subject:
    """Return a network of equal dense layers on a data set."""
    data = common.load_data(options)
    if options["class_weight"] is not None and not data.classes:
        problem = f"`class_weight` does not apply to {data.name!r}, which is for a regression"
        raise InitxError("class_weight", options["class_weight"], "left out", "Leave it out.", problem)
    metrics = {"accuracy": "max"} if data.classes else {"rmse": "min", "mae": "min"}
    metrics["loss"] = "min"
    names, rates = options["initializers"], options["learning_rates"]
    model = DenseNetwork(
        data,
        common.split_names(options["activations"]),
        DEFAULT_INITIALIZERS if names is None else common.split_names(names),
        DEFAULT_LEARNING_RATES if rates is None else common.split_rates(rates),
        options["depth"],
        options["width"],
    )
    return Subject(
        model,
        {"x": data, "batch_size": 64},
        SearchSpace(optimizers=_names(options["optimizer"])),
        tuner="grid",
        objective="val_accuracy" if data.classes else keras_tuner.Objective("val_rmse", "min"),
        labels=data.y_train,
        classes=data.classes,
        metrics={part + name: best for part in ("val_", "") for name, best in metrics.items()},
    )


def of_script(file: Path, options: Mapping[str, Any]) -> Subject:
    """Return the model and the data of a Python file.

    Args:
        file: The file.
        options: The options of the command line by name.
    """
    model, arguments = load_script(file)
    x = arguments.get("x")
    is_arrays = isinstance(x, Dataset) or all(hasattr(leaf, "shape") for leaf in keras.tree.flatten(x))
    if options["batch_size"] is not None and x is not None and not is_arrays:
        remedy = "Set it where data() makes the batches."
        allowed = "left out if data() yields batches of its own"
        raise InitxError("batch_size", options["batch_size"], allowed, remedy)
    labels, classes = (x.y_train, x.classes) if isinstance(x, Dataset) else (arguments.get("y"), ())
    arguments, notes = with_validation(file, model, arguments, options["objective"])
    return Subject(model, arguments, space_of(options), labels=labels, classes=classes, notes=notes)


def of_saved_model(file: Path, options: Mapping[str, Any]) -> Subject:
    """Return a saved model and its arrays."""
    model, arguments = load_saved(file, options["data"])
    return Subject(model, arguments, space_of(options), labels=arguments.get("y"))


def space_of(options: Mapping[str, Any]) -> SearchSpace:
    """Return what the options add to a user's own model."""
    rates = options["learning_rates"]
    return SearchSpace(
        initializers=_names(options["initializers"]),
        learning_rates=None if rates is None else common.split_rates(rates),
        optimizers=_names(options["optimizer"]),
    )


def _names(text: str | None) -> list[str] | None:
    return None if text is None else common.split_names(text)
