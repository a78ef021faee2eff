"""Options of `keras-initx tune` with a syntax of their own: --objective and --class-weight."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np

from keras_initx.errors import InitxError, unknown_name


def check_free(arguments: Mapping[str, Any], name: str) -> None:
    """Raise an `InitxError` for an option that `data()` sets already."""
    if arguments.get(name) is not None:
        problem = f"`{name}` is also among what data() returns"
        raise InitxError(name, arguments[name], "set in one place", "Leave out one of the two.", problem)


def objective_of(
    text: str | None, default: str | keras_tuner.Objective | None, metrics: Mapping[str, str] | None = None
) -> str | keras_tuner.Objective | None:
    """Return an objective that is written as NAME, NAME:min or NAME:max.

    Args:
        text: The option; None returns the default.
        default: The default.
        metrics: The direction of each metric that the model has; empty or None if they are not known.

    Raises:
        InitxError: If the direction is another word or not known, or the model lacks the metric.
    """
    if text is None:
        return default
    name, separator, direction = text.rpartition(":")
    if separator and (direction not in ("min", "max") or not name):
        raise InitxError("objective", text, "NAME, NAME:min or NAME:max")
    name = name if separator else text
    if metrics and name not in metrics:
        raise unknown_name("objective", name, metrics)
    if not separator:
        if metrics:
            return keras_tuner.Objective(name, metrics[name])
        try:
            return keras_tuner.Oracle(name).objective
        except ValueError:
            allowed = "NAME:min or NAME:max for a metric whose better direction is unknown"
            remedy = f"Pass `objective={name}:max` or `objective={name}:min`."
            raise InitxError("objective", name, allowed, remedy) from None
    return keras_tuner.Objective(name, direction)


def class_weights(text: str | None, labels: Any, classes: Sequence[str] = ()) -> dict[int, float] | None:
    """Return the weight of each class number.

    Args:
        text: "balanced" weights each class by rows / (classes * rows of the class); otherwise a JSON object
            of weights by class; None returns None.
        labels: The class number of each training row; anything else if they are not known.
        classes: The name of each class number; empty if the classes have numbers only.

    Raises:
        InitxError: If the text is neither, names an unknown class, or the classes are not known.
    """
    if text is None:
        return None
    if text.strip() == "balanced":
        numbers = _numbers(labels)
        if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "biu":
            problem = "`class_weight` balanced needs an array y of class numbers"
            remedy = 'Pass the weights themselves: --class-weight \'{"0": 1, "1": 5}\'.'
            raise InitxError("class_weight", text, "weights by class", remedy, problem)
        values, counts = np.unique(numbers, return_counts=True)
        weights = len(numbers) / (len(values) * counts)
        return {int(value): float(weight) for value, weight in zip(values, weights, strict=True)}
    allowed = 'balanced, or a JSON object of positive weights by class such as \'{"yes": 5, "no": 1}\''
    try:
        given_weights = json.loads(text)
    except ValueError:
        given_weights = None
    if (
        not isinstance(given_weights, dict)
        or not given_weights
        or not all(_is_positive(value) for value in given_weights.values())
    ):
        raise InitxError("class_weight", text, allowed)
    found = set() if classes else _class_numbers(labels)
    numbers_by_name = {name: number for number, name in enumerate(classes)}
    for name in given_weights:
        if classes and name not in numbers_by_name:
            raise unknown_name("class_weight", name, classes)
        if not classes and not name.isdecimal():
            raise InitxError("class_weight", name, "a JSON object of weights by class number")
        if found and int(name) not in found:
            raise unknown_name("class_weight", name, map(str, sorted(found)))
    return {
        numbers_by_name[name] if classes else int(name): float(value) for name, value in given_weights.items()
    }


def _numbers(labels: Any) -> np.ndarray:
    """Return labels as an array, without dimensions of 1; an empty one if they are not an array."""
    return np.squeeze(np.asarray(labels)) if hasattr(labels, "shape") else np.empty(0)


def _class_numbers(labels: Any) -> set[int]:
    """Return the class numbers among labels, which may be one-hot; an empty set if they are not known."""
    numbers = _numbers(labels)
    if numbers.dtype.kind not in "biuf" or numbers.ndim not in (1, 2):
        return set()
    if numbers.ndim == 2:
        return set(range(numbers.shape[1]))
    values = np.unique(numbers)
    return set(map(int, values)) if (values == np.floor(values)).all() else set()


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
