"""Hold back rows of arrays for validation if a file has no validation data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_initx.errors import InitxError
from keras_initx.tuning import Dataset

SHARE = 0.2
"""The share of the rows that is held back."""
_NOTE = f"data() returns no validation data, so {SHARE:.0%} of its rows, chosen at random, are held back."


def with_validation(
    file: Path, model: Any, arguments: Mapping[str, Any], objective: str | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arguments of `fit` with validation data, and a note if rows were held back for it.

    Args:
        file: The Python file, for errors.
        model: What `build` is.
        arguments: What its `data()` returned.
        objective: The metric to optimize; None is one of the validation data.

    Raises:
        InitxError: The metric is one of the validation data, and `data()` returns batches without any.
    """
    x, unchanged = arguments.get("x"), (dict(arguments), ())
    has_own_fit = (
        isinstance(model, keras_tuner.HyperModel) and type(model).fit is not keras_tuner.HyperModel.fit
    )
    is_needed = objective is None or objective.startswith("val_")
    if has_own_fit or not is_needed or x is None or isinstance(x, Dataset | Iterator):
        return unchanged
    if arguments.get("validation_data") is not None or arguments.get("validation_split"):
        return unchanged
    if not are_arrays(x):
        needed = "validation data" if objective is None else f"validation data, for `objective` {objective}"
        problem = f"data() of {str(file)!r} returns batches without {needed}"
        remedy = 'Return {"x": ..., "validation_data": ...}, or pass a metric of training: `objective=loss`.'
        raise InitxError("data()", type(x).__name__, "validation data too", remedy, problem)
    parts = tuple(arguments.get(name) for name in ("x", "y", "sample_weight"))
    given = [part for part in parts if part is not None]
    counts = {leaf.shape[0] for leaf in keras.tree.flatten(given)} if are_arrays(given) else set()
    if len(counts) != 1 or (count := counts.pop()) < 2:
        # The search says what is wrong with such data.
        return unchanged
    rows = np.random.default_rng(0).permutation(count)
    held = max(1, round(SHARE * count))
    kept = dict(zip(("x", "y", "sample_weight"), rows_of(parts, rows[held:]), strict=True))
    kept = {name: part for name, part in kept.items() if part is not None}
    return {**arguments, **kept, "validation_data": trimmed(rows_of(parts, rows[:held]))}, (_NOTE,)


def are_arrays(x: Any) -> bool:
    """Return whether `x` holds arrays, alone or in lists and dictionaries."""
    leaves = keras.tree.flatten(x)
    return bool(leaves) and all(len(getattr(leaf, "shape", ())) > 0 for leaf in leaves)


def rows_of(parts: tuple[Any, ...], rows: np.ndarray) -> tuple[Any, ...]:
    """Return some rows of x, y and sample weights, each of which may be None."""
    return tuple(
        None if part is None else keras.tree.map_structure(lambda values: _taken(values, rows), part)
        for part in parts
    )


def _taken(values: Any, rows: np.ndarray) -> Any:
    if hasattr(values, "iloc"):
        return values.iloc[rows]
    return values.tocsr()[rows] if hasattr(values, "tocsr") else np.asarray(values)[rows]


def trimmed(parts: Any) -> Any:
    """Return x, y and sample weights without weights that are None."""
    x, y, weights = parts
    return (x, y, weights) if weights is not None else (x, y)
