"""Take one batch from arrays, data sets, generators or data frames, as the model expects it."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_initx.errors import InitxError


class Batch(NamedTuple):
    """What a model is looked at on: inputs, and, where there are some, targets and weights of samples."""

    x: Any
    y: Any = None
    weights: Any = None


def batch_of(data: Any, size: int, argument: str = "data") -> Any:
    """The inputs of up to `size` samples of anything that `model.fit` takes.

    Args:
        data: Arrays or tensors, alone, in a list or in a dict as the model takes them; a tf.data.Dataset, a
            `keras.utils.PyDataset` or a generator of batches (x, (x, y) or (x, y, weights)).
        size: The most samples to take.
        argument: What the caller passed it as.

    Raises:
        InitxError: No samples, or values that are not finite.
    """
    data = _plain(data)
    return _taken(data if _is_arrays(data) else _gathered(data, size, argument).x, size, argument)


def labelled_batch(data: Any, size: int, argument: str = "x") -> Batch:
    """The inputs as `batch_of` has them, and the targets and weights that came in the same batches."""
    data = _plain(data)
    found = Batch(data) if _is_arrays(data) else _gathered(data, size, argument)
    return Batch(*(None if part is None else _taken(part, size, argument) for part in found))


def _taken(x: Any, size: int, argument: str) -> Any:
    flat = keras.tree.flatten(x)
    shapes = [tuple(v.shape) for v in flat]
    if any(not shape for shape in shapes):
        raise InitxError(argument, "a single value", "arrays of samples", "x[0] is a sample, x[:1] has one.")
    if any(not shape or shape[0] is None for shape in shapes) or any(_is_strange(v) for v in flat):
        given = ", ".join(f"{type(v).__name__} of {getattr(v, 'dtype', 'no type')}" for v in flat)
        raise InitxError(argument, given, "dense arrays of real numbers or of strings")
    if not flat or any(not shape[0] for shape in shapes):
        raise InitxError(argument, f"arrays of shape {shapes}", "at least one sample")
    if len({shape[0] for shape in shapes}) > 1:
        raise InitxError(argument, f"arrays of shape {shapes}", "as many samples of every input")
    try:
        taken = keras.tree.map_structure(lambda v: ops.convert_to_tensor(v[:size]), x)
    except (TypeError, ValueError) as error:
        # As JAX says of strings.
        kinds = ", ".join(sorted({str(v.dtype) for v in flat}))
        allowed = f"values that {keras.backend.backend()} has tensors of"
        raise InitxError(argument, f"values of type {kinds}", allowed) from error
    for tensor in keras.tree.flatten(taken):
        values = ops.convert_to_numpy(tensor)
        if np.issubdtype(values.dtype, np.floating) and not np.all(np.isfinite(values)):
            raise InitxError(argument, "NaN or infinite values", "finite numbers", "Clean the data first.")
    return taken


def inputs_of(model: keras.Model, data: Any) -> Any:
    """x, where data is a tuple (x, y) or (x, y, weights) of arrays and not the model's inputs."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        return data
    if any(isinstance(part, dict | list | tuple) for part in data):
        # No input of a model is one.
        return data[0]
    inputs = getattr(model, "inputs", None)
    return data[0] if inputs is not None and len(inputs) != len(data) else data


def by_name(model: keras.Model, x: Any, argument: str = "data") -> Any:
    """A dictionary of inputs by their names in the structure of the model, as `model.fit` takes it.

    What the model has no input for is left out, as `fit` does.

    Raises:
        InitxError: An input that is missing.
    """
    inputs = getattr(model, "inputs", None)
    if not isinstance(x, dict) or not inputs:
        return x
    structure = getattr(model, "input", None)
    names = list(structure) if isinstance(structure, dict) else [tensor.name for tensor in inputs]
    if missing := [name for name in names if name not in x]:
        raise InitxError(
            argument, f"inputs called {sorted(x)}", f"those of the model: {names}", f"Missing: {missing}."
        )
    if isinstance(structure, dict):
        return {name: x[name] for name in names}
    return [x[name] for name in names] if len(names) > 1 else x[names[0]]


def _plain(data: Any) -> Any:
    """Data frames and series, as NumPy's arrays; everything else as it is."""
    if hasattr(data, "to_numpy"):
        return data.to_numpy()
    if isinstance(data, tuple | list):
        return type(data)(_plain(part) for part in data) if type(data) in (tuple, list) else data
    return {name: _plain(part) for name, part in data.items()} if type(data) is dict else data


def _is_strange(values: Any) -> bool:
    """Whether an array is sparse or ragged, complex, or of objects that are no strings."""
    if type(values).__name__.startswith(("Ragged", "Sparse", "csr", "csc", "coo")):
        return True
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        return not all(isinstance(v, str | bytes) for v in values.ravel())
    return "complex" in str(values.dtype)


def _is_arrays(data: Any) -> bool:
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(hasattr(v, "shape") and hasattr(v, "dtype") for v in leaves)


def _gathered(data: Any, size: int, argument: str) -> Batch:
    """Batches put together until there are `size` samples: inputs, and what else all of them have."""
    if isinstance(data, keras.utils.PyDataset):
        endless = data.num_batches is None
        numbers = itertools.count() if endless else range(data.num_batches)
        batches: Iterator[Any] = (data[number] for number in numbers)
    elif hasattr(data, "__iter__"):
        batches = iter(data)
    else:
        remedy = f"Call the function: {argument}=f()." if callable(data) else ""
        allowed = "arrays, a tf.data.Dataset, a PyDataset or a generator"
        raise InitxError(argument, type(data).__name__, allowed, remedy)
    found: list[list[Any]] = []
    count = 0
    for batch in itertools.islice(batches, size):
        x = batch[0] if isinstance(batch, tuple) else batch
        if not _is_arrays(x):
            remedy = (
                "np.asarray makes an array of lists." if isinstance(x, list | tuple | float | int) else ""
            )
            allowed = "arrays, or batches of them: x, (x, y) or (x, y, weights)"
            raise InitxError(argument, type(x).__name__, allowed, remedy)
        if any(not tuple(v.shape) for v in keras.tree.flatten(batch) if hasattr(v, "shape")):
            remedy = "dataset.batch(32) makes some."
            raise InitxError(argument, "samples one by one", "batches of them", remedy)
        parts = itertools.takewhile(_is_arrays, batch if isinstance(batch, tuple) else (x,))
        found.append([keras.tree.map_structure(ops.convert_to_numpy, part) for part in parts])
        count += len(keras.tree.flatten(x)[0])
        if count >= size:
            break
    if not found:
        raise InitxError(argument, type(data).__name__, "at least one batch")
    # Of a batch without targets the weights would be of another number of samples.
    return Batch(*(_joined(parts) for parts in itertools.islice(zip(*found, strict=False), 3)))


def _joined(batches: tuple[Any, ...]) -> Any:
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
