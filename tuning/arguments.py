"""Check the arguments of `search`, and that the model trains on the data, before anything is written."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from numbers import Integral
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_initx.errors import InitxError, check_positive, error_line, is_number

from .data import Dataset, check_not_masked, first_gap, from_arrays
from .space import InitializerHyperModel
from .training import architecture

Pair = tuple[Any, Any]

# NumPy accepts seeds of 32 bits.
_SEEDS = 2**32


def check_flags(**flags: object) -> None:
    """Raise an `InitxError` for a flag that is not a bool: "off" would count as true."""
    for argument, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise InitxError(argument, value, "True or False")


def check_kinds(values: Mapping[str, object], kinds: Mapping[str, tuple[Any, str]]) -> None:
    """Raise an `InitxError` for a value of the wrong type; `kinds` has the type and its words by argument."""
    for argument, (kind, text) in kinds.items():
        if not isinstance(values[argument], kind):
            raise InitxError(argument, values[argument], text)


def pairs_of(data: Any) -> tuple[Pair, Pair, Pair | None]:
    """Return the pairs (x, y) for training, validation and, if there is one, testing.

    Raises:
        InitxError: If the data has another form, or x and y differ in length.
    """
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        if all(isinstance(part, tuple | list) and len(part) == 2 for part in data):
            for part in data:
                for values in part:
                    check_not_masked("data", values)
            arrays: list[Pair] = [(np.asarray(x), np.asarray(y)) for x, y in data]
            for name, (x, y) in zip(("training", "validation", "test"), arrays, strict=False):
                if len(x) != len(y) or not len(x):
                    allowed = f"a {name} pair (x, y) of equal length, with at least one row"
                    raise InitxError("data", f"{len(x)} rows of x and {len(y)} of y", allowed)
                _warn_of_gaps(name, x=x, y=y)
            return arrays[0], arrays[1], arrays[2] if len(arrays) == 3 else None
        if len(data) == 2:
            return _split(*data)
    if not isinstance(data, Dataset):
        allowed = "a Dataset, (x, y), or ((x, y), (x_validation, y_validation))"
        kind = type(data).__name__
        raise InitxError("data", kind, allowed, problem=f"`data` must be {allowed}, got a {kind}")
    return (
        (data.x_train, data.y_train),
        (data.x_validation, data.y_validation),
        (data.x_test, data.y_test),
    )


def _warn_of_gaps(name: str, **arrays: np.ndarray) -> None:
    # Only a warning, since a model may handle such values.
    for which, values in arrays.items():
        if values.dtype.kind == "f" and (index := first_gap(values)) is not None:
            warnings.warn(
                f"`data` contains {values[index]} in {which} of the {name} pair, at index {index}. Most "
                "models then have a loss that is not finite.",
                stacklevel=4,
            )


def _split(x: Any, y: Any) -> tuple[Pair, Pair, Pair | None]:
    train, validation, test = pairs_of(from_arrays(x, y))
    labels = np.asarray(y)
    if labels.ndim < 2 or labels.shape[1] == 1:
        return train, validation, test
    # Keep labels one-hot, since the model's loss expects that. The split returned class indices.
    rows = np.eye(labels.shape[1], dtype="float32")[np.unique(labels.argmax(axis=1))]
    one_hot: list[Pair] = [(x, rows[y]) for x, y in (train, validation, test or train)]
    return one_hot[0], one_hot[1], one_hot[2]


def seeds_of(seeds: int | Sequence[int], first: int) -> list[int]:
    """Return the seeds of every trial: a number of seeds starting at `first`, or the listed seeds.

    Raises:
        InitxError: If there is no seed, a seed twice, or a seed outside 32 bits.
    """
    if not _is_seed(first):
        raise InitxError("seed", first, f"an integer from 0 to {_SEEDS - 1}")
    if isinstance(seeds, Integral):
        return [(int(first) + i) % _SEEDS for i in range(check_positive("seeds", seeds))]
    listed = list(seeds) if isinstance(seeds, Iterable) else []
    if not listed or len(set(listed)) < len(listed) or not all(_is_seed(seed) for seed in listed):
        allowed = f"an integer >= 1, or a list of distinct seeds from 0 to {_SEEDS - 1}"
        raise InitxError("seeds", seeds, allowed)
    return [int(seed) for seed in listed]


def _is_seed(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < _SEEDS


def objective_of(objective: str | keras_tuner.Objective) -> keras_tuner.Objective:
    """Return the objective with its direction.

    Raises:
        InitxError: If KerasTuner does not know whether more or less of the metric is better.
    """
    try:
        return keras_tuner.Oracle(objective).objective
    except ValueError:
        near = get_close_matches(str(objective), ["val_accuracy", "val_loss", "val_auc"], n=1)
        remedy = f"Did you mean {near[0]!r}?" if near else ""
        allowed = "a metric with a known direction, or keras_tuner.Objective(name, direction)"
        raise InitxError("objective", objective, allowed, remedy) from None


def check_model(
    hypermodel: InitializerHyperModel, train: Pair, others: Sequence[Pair | None], objective: str
) -> tuple[keras_tuner.HyperParameters, str]:
    """Build the model once, train it on two rows and evaluate it; return its search space and a description.

    Args:
        hypermodel: Builds the model.
        train: The training pair.
        others: The pairs to evaluate on.
        objective: The metric that the model must have.

    Raises:
        InitxError: If the model cannot be built, does not train or evaluate on the data, or lacks the
            objective.
    """
    hp = keras_tuner.HyperParameters()
    model = hypermodel.build(hp)
    text = f"{model.count_params()} parameters"
    key = architecture(model)
    if key is not None:
        text += f" [{hashlib.sha256(key.encode()).hexdigest()[:12]}]"
    # Eagerly, since compiling would take longer than this one step.
    model.run_eagerly, model.jit_compile = True, False
    try:
        logs = model.train_on_batch(train[0][:2], train[1][:2], return_dict=True)
    except Exception as error:
        remedy = f"{_label_remedy(model.loss, train[1])}Keras: {error_line(error)}."
        problem = f"`model` {model.name!r} does not train on the data"
        raise InitxError("model", model.name, "a model that trains on the data", remedy, problem) from error
    for name, pair in zip(("validation", "test"), others, strict=False):
        if pair is not None:
            _check_evaluates(model, name, pair)
    names = [f"val_{name}" for name in logs] + list(logs)
    if objective not in names:
        allowed = f"a metric of the model ({', '.join(names)})"
        remedy = "Add it to metrics=[...] when you compile the model, or pass another objective."
        raise InitxError("objective", objective, allowed, remedy)
    return hp, text


def _check_evaluates(model: keras.Model, name: str, pair: Pair) -> None:
    """Raise an `InitxError` for a pair that fits the model less than the training pair does."""
    try:
        model.test_on_batch(pair[0][:2], pair[1][:2])
    except Exception as error:
        shapes = f"x of shape {np.shape(pair[0])} and y of shape {np.shape(pair[1])}"
        allowed = f"a {name} pair that the model can be evaluated on"
        problem = f"`data` must have {allowed}, got {shapes}"
        remedy = f"{_label_remedy(model.loss, pair[1])}Keras: {error_line(error)}."
        raise InitxError("data", shapes, allowed, remedy, problem) from error


def _label_remedy(loss: Any, labels: Any) -> str:
    """Return what to do if a loss for class numbers meets one-hot labels, or the reverse; "" otherwise."""
    name = (loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))) or ""
    one_hot = np.ndim(labels) == 2 and np.shape(labels)[1] > 1
    if name == "sparse_categorical_crossentropy" and one_hot:
        return f"The labels are one-hot, of shape {np.shape(labels)}. Compile with categorical_crossentropy. "
    if name == "categorical_crossentropy" and not one_hot:
        return "The labels are class numbers. Compile with sparse_categorical_crossentropy. "
    return ""


def fingerprint(*pairs: Pair | None) -> str:
    """Return a short hash of all arrays, by which a resumed search recognizes its data."""
    digest = hashlib.sha256()
    for pair in pairs:
        for array in pair or ():
            values = np.ascontiguousarray(array)
            digest.update(f"{values.shape}{values.dtype}".encode())
            digest.update(values.tobytes())
    return digest.hexdigest()[:12]


def check_limits(epochs: object, batch_size: object, patience: object, extra_seeds: object) -> None:
    """Raise an `InitxError` for a limit of `search` that is not an integer in its range."""
    check_positive("epochs", epochs)
    check_positive("batch_size", batch_size)
    if patience is not None:
        check_positive("patience", patience)
    if isinstance(extra_seeds, bool) or not isinstance(extra_seeds, int) or extra_seeds < 0:
        raise InitxError("extra_seeds", extra_seeds, "an integer >= 0")


def trials_of(trials: int | None, tuner: object) -> int | None:
    """Return the number of trials: by default 20, or None, which means all, for a grid."""
    if trials is not None:
        return check_positive("trials", trials)
    return None if tuner == "grid" else 20


def goal_of(metric: keras_tuner.Objective, target: Any) -> keras_tuner.Objective:
    """Return what the study optimizes: the metric, or the epochs until the metric reaches a target.

    Raises:
        InitxError: If the target is not a finite number.
    """
    if target is None:
        return metric
    if not is_number(target) or not np.isfinite(target):
        raise InitxError("target", target, f"None or a finite value of {metric.name}")
    return keras_tuner.Objective(f"epochs to {metric.name} {target:g}", "min")
