"""Read a saved model and its arrays for `keras-initx tune model.keras --data arrays.npz`."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx.errors import InitxError, unknown_name

from ..inspect_model import load, read_arrays
from .held_back import SHARE, rows_of, trimmed

# The endings of the names of arrays that belong to another part than the training data.
_PARTS = ("_validation", "_test")


def load_saved(file: Path, data: Path | None) -> tuple[keras.Model, dict[str, Any]]:
    """Return a saved model and the arguments of `search` for its arrays.

    Args:
        file: A compiled model.
        data: An npz file with x and y, or with one array for each input and output of the model by its name.
            Arrays with the same names and _validation or _test are these parts; without them, 20 % of the
            rows are chosen at random for each.

    Raises:
        InitxError: If the model is not compiled, or the arrays do not fit its inputs and outputs.
    """
    with warnings.catch_warnings():
        # A search begins without the optimizer's state.
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer", UserWarning)
        model = load(file, compiled=True)
    if not model.compiled:
        problem = f"FILE {str(file)!r} is not compiled, so it has neither loss nor optimizer"
        remedy = "Call model.compile(...) before model.save(...)."
        raise InitxError("FILE", str(file), "a compiled model", remedy, problem)
    if data is None:
        problem = "A saved model needs `data`"
        remedy = "Pass `data=FILE.npz`, with arrays x and y, or one for each input and output by its name."
        raise InitxError("data", None, "an .npz file", remedy, problem)
    arrays = {
        # `fit` reads strings from arrays of objects only.
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in read_arrays(data, "an .npz file with the arrays x and y").items()
    }
    inputs = [tensor.name for tensor in getattr(model, "inputs", None) or []]
    outputs = list(getattr(model, "output_names", None) or [])
    known = ["x", "y", "sample_weight", *inputs, *outputs]
    by_part: dict[str, dict[str, Any]] = {part: {} for part in ("", *_PARTS)}
    for name, values in arrays.items():
        part = next((ending for ending in _PARTS if name.endswith(ending)), "")
        base = name.removesuffix(part or "_train")
        if base not in known:
            raise unknown_name("data", name, known, "Each may end in _train, _validation or _test.")
        by_part[part][base] = values
    parts = {part: _part(data, found, inputs, outputs) for part, found in by_part.items()}
    if parts[""] is None:
        allowed = f"an .npz file with an array x, or with {', '.join(inputs)}"
        raise InitxError("data", f"{data} with the arrays {', '.join(arrays)}", allowed)
    return model, _arguments(parts)


def _part(
    file: Path, arrays: Mapping[str, Any], inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[Any, ...] | None:
    """Return x, y and sample weights of one part, or None without arrays.

    Raises:
        InitxError: If an input is missing, or the arrays have different numbers of rows.
    """
    if not arrays:
        return None
    for one, several in (("x", inputs), ("y", outputs)):
        for name in several:
            if name in arrays and one in arrays and name != one:
                problem = f"`data` {str(file)!r} has both {one} and {name!r}"
                raise InitxError("data", name, f"{one} alone", "Leave out one of them.", problem)
    x, y = arrays.get("x"), arrays.get("y")
    if x is None:
        lacking = [name for name in inputs or ["x"] if name not in arrays]
        if lacking:
            problem = f"`data` {str(file)!r} has neither x nor {lacking[0]!r}, an input of the model"
            raise InitxError("data", ", ".join(arrays), "an array for each input", problem=problem)
        x = {name: arrays[name] for name in inputs}
    if y is None and outputs and set(outputs) <= set(arrays):
        y = {name: arrays[name] for name in outputs}
        y = y if len(outputs) > 1 else y[outputs[0]]
    parts = (x, y, arrays.get("sample_weight"))
    rows = {name: len(values) if values.ndim else 0 for name, values in arrays.items()}
    if len(set(rows.values())) > 1 or 0 in rows.values():
        counts = ", ".join(f"{count} of {name}" for name, count in rows.items())
        problem = (
            f"`data` {str(file)!r} must have arrays of equal length, with at least one row, got {counts}"
        )
        raise InitxError("data", counts, "arrays of equal length", problem=problem)
    return parts


def _arguments(parts: Mapping[str, tuple[Any, ...] | None]) -> dict[str, Any]:
    """Return the arguments of `search`, with rows of the training data for the parts that are missing."""
    train = parts[""]
    assert train is not None
    rows = np.random.default_rng(0).permutation(len(keras.tree.flatten(train)[0]))
    held = {}
    for part in _PARTS:
        held[part] = parts[part]
        if held[part] is None:
            count = max(1, round(SHARE * len(keras.tree.flatten(train)[0])))
            held[part], rows = rows_of(train, rows[:count]), rows[count:]
    if not len(rows):
        raise InitxError("data", "too few rows", "an .npz file with at least 3 rows")
    x, y, weights = rows_of(train, rows)
    arguments = {"x": x, "y": y, "sample_weight": weights}
    arguments |= {"validation_data": trimmed(held["_validation"]), "test_data": trimmed(held["_test"])}
    return {name: value for name, value in arguments.items() if value is not None}
