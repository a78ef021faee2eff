"""The loss that judges each output of a model, and whether it compares classes or independent labels."""

import functools
import inspect
from collections.abc import Iterable
from typing import Any, Literal

import keras

# A loss has one name as a class and one as a function. Older versions of Keras lack some.
_NAMES: dict[Literal["sigmoid", "softmax"], tuple[tuple[str, str], ...]] = {
    "sigmoid": (
        ("BinaryCrossentropy", "binary_crossentropy"),
        ("BinaryFocalCrossentropy", "binary_focal_crossentropy"),
    ),
    "softmax": (
        ("CategoricalCrossentropy", "categorical_crossentropy"),
        ("CategoricalFocalCrossentropy", "categorical_focal_crossentropy"),
        ("CategoricalGeneralizedCrossEntropy", "categorical_generalized_cross_entropy"),
        ("SparseCategoricalCrossentropy", "sparse_categorical_crossentropy"),
    ),
}

_REGRESSION = (
    ("MeanSquaredError", "mean_squared_error"),
    ("MeanAbsoluteError", "mean_absolute_error"),
    ("MeanAbsolutePercentageError", "mean_absolute_percentage_error"),
    ("MeanSquaredLogarithmicError", "mean_squared_logarithmic_error"),
    ("Huber", "huber"),
    ("LogCosh", "log_cosh"),
)


def output_losses(model: keras.Model, results: Any, loss: Any = None) -> list[Any]:
    """Return the loss of each output, in the flat order of `results`; [] if it cannot be told.

    Args:
        model: The model, whose compiled loss counts if `loss` is None.
        results: The outputs of the model, real or symbolic.
        loss: A loss, or a list or dictionary of losses.
    """
    losses = getattr(model, "loss", None) if loss is None else loss
    count = len(keras.tree.flatten(results))
    # A Sequential model has no names of outputs.
    if isinstance(losses, dict) and not len(losses) == count == 1:
        # Dictionaries are flattened by name, and lists of outputs are in the order of the model.
        names = output_names(model, results)
        if set(losses) != set(names):
            return []
        losses = [losses[name] for name in names]
    losses = keras.tree.flatten(losses)
    if len(losses) == 1:
        losses *= count
    return losses if len(losses) == count else []


def output_names(model: keras.Model, results: Any) -> list[str]:
    """Return the names of the outputs, in the flat order of `results`; [] if they have none."""
    return sorted(results) if isinstance(results, dict) else list(getattr(model, "output_names", []))


def link_of_loss(loss: Any) -> Literal["sigmoid", "softmax"] | None:
    """Return the activation that turns logits into the probabilities that a loss compares; None if unknown.

    A crossentropy of independent labels belongs to sigmoids, one of exclusive classes to a softmax.
    """
    return next((link for link, names in _NAMES.items() if _name_among(loss, names)), None)


def regression_loss(loss: Any) -> str | None:
    """Return the name of a loss that compares the outputs themselves with the targets; None for any other."""
    return _name_among(loss, _REGRESSION)


def _name_among(loss: Any, names: Iterable[tuple[str, str]]) -> str | None:
    """Return the name of a loss if it is one of some losses of Keras, or a subclass of one; else None."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:
            # Keras says so when it trains.
            return None
    while isinstance(loss, functools.partial):
        loss = loss.func
    cls = loss if inspect.isclass(loss) else type(loss)
    for class_name, function_name in names:
        known = getattr(keras.losses, class_name, None)
        if known is not None and issubclass(cls, known):
            return class_name
        if loss is not None and loss is getattr(keras.losses, function_name, None):
            return function_name
    return None
