"""Take one batch from arrays, datasets, generators or data frames, in the form that the model takes."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_initx.errors import InitxError, is_number


class Batch(NamedTuple):
    """A batch of data: inputs, and optionally targets and sample weights."""

    x: Any
    y: Any = None
    weights: Any = None


def batch_of(data: Any, size: int, argument: str = "data") -> Any:
    """Return the inputs of up to `size` samples from anything that `model.fit` accepts.

    Args:
        data: Arrays or tensors, alone, in a list or in a dict as the model takes them; or a tf.data.Dataset,
            a `keras.utils.PyDataset` or a generator of batches (x, (x, y) or (x, y, weights)).
        size: The maximal number of samples.
        argument: The name of the caller's argument, for errors.

    Raises:
        InitxError: There are no samples, or values are not finite.
    """
    data = _without_frames(data)
    x = data if _is_arrays(data) else _collected(data, size, argument).x
    return _first_samples(x, size, argument)


def labelled_batch(data: Any, size: int, argument: str = "x") -> Batch:
    """Return the inputs as `batch_of` does, with the targets and weights of the same samples."""
    data = _without_frames(data)
    batch = Batch(data) if _is_arrays(data) else _collected(data, size, argument)
    return Batch(*(None if part is None else _first_samples(part, size, argument) for part in batch))


def _first_samples(x: Any, size: int, argument: str) -> Any:
    """Return the first `size` samples as tensors; raise an `InitxError` if they cannot be used."""
    arrays = keras.tree.flatten(x)
    _check_arrays(arrays, argument)
    try:
        batch = keras.tree.map_structure(lambda v: ops.convert_to_tensor(v[:size]), x)
    except (TypeError, ValueError) as error:
        # JAX, for example, has no strings.
        dtypes = ", ".join(sorted({str(v.dtype) for v in arrays}))
        backend = keras.backend.backend()
        raise InitxError(
            argument,
            f"values of dtype {dtypes}",
            f"of a dtype that {backend} supports",
            problem=f"`{argument}` has values of dtype {dtypes}, which {backend} does not support",
        ) from error
    check_finite(batch, argument)
    return batch


def check_finite(x: Any, argument: str) -> None:
    """Raise an `InitxError` with the number and the first place of entries that are NaN or infinite.

    Anything else is not read: a dataset, or an array that is mapped from a file.
    """
    x = _without_frames(x)
    for part in keras.tree.flatten(x) if _is_arrays(x) else ():
        if isinstance(part, np.memmap):
            continue
        values = part if isinstance(part, np.ndarray) else ops.convert_to_numpy(part)
        if not np.issubdtype(values.dtype, np.floating):
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            # The sum of a large array takes no memory, unlike a mask.
            if np.isfinite(np.sum(values, dtype="float64")):
                continue
        is_finite = np.isfinite(values)
        if is_finite.all():
            continue
        first = ", ".join(map(str, np.unravel_index(np.argmin(is_finite), is_finite.shape)))
        where = f"{np.count_nonzero(~is_finite):,} of {is_finite.size:,} entries, the first at [{first}]"
        problem = f"`{argument}` contains NaN or infinite values ({where})"
        raise InitxError(
            argument, "NaN or infinite values", "finite numbers", "Clean the data first.", problem
        )


def _check_arrays(arrays: list[Any], argument: str) -> None:
    """Raise an `InitxError` unless all arrays are dense and have the same number of samples, at least one."""
    shapes = [tuple(v.shape) for v in arrays]
    if any(not shape for shape in shapes):
        remedy = "x[0] is one sample; x[:1] is an array with one sample."
        problem = f"`{argument}` must hold arrays of samples, got a single value"
        raise InitxError(argument, "a single value", "arrays of samples", remedy, problem)
    if any(shape[0] is None for shape in shapes) or any(map(_is_unsupported, arrays)):
        received = ", ".join(f"{type(v).__name__} of {getattr(v, 'dtype', 'unknown dtype')}" for v in arrays)
        allowed = "dense arrays of real numbers or of strings"
        problem = f"`{argument}` must hold {allowed}, got {received}"
        raise InitxError(argument, received, allowed, problem=problem)
    received = f"arrays of shape {', '.join(map(str, shapes))}"
    if not arrays or any(not shape[0] for shape in shapes):
        received = received if arrays else "no array"
        problem = f"`{argument}` must have at least one sample, got {received}"
        raise InitxError(argument, received, "at least one sample", problem=problem)
    if len({shape[0] for shape in shapes}) > 1:
        allowed = "arrays with the same number of samples"
        problem = f"`{argument}` must have the same number of samples in every array, got {received}"
        raise InitxError(argument, received, allowed, problem=problem)


def inputs_of(model: keras.Model, data: Any) -> Any:
    """Return x of a tuple (x, y) or (x, y, weights); return anything else, such as inputs, unchanged."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        return data
    if any(isinstance(part, dict | list | tuple) for part in data):
        # No single input of a model is a structure, so this tuple is not a list of inputs.
        return data[0]
    inputs = getattr(model, "inputs", None)
    return data[0] if inputs is not None and len(inputs) != len(data) else data


def by_name(model: keras.Model, x: Any, argument: str = "data") -> Any:
    """Return a dictionary of named inputs in the structure of the model, as `model.fit` does.

    Names that are not inputs of the model are dropped, as in `fit`.

    Raises:
        InitxError: An input is missing.
    """
    inputs = getattr(model, "inputs", None)
    if not isinstance(x, dict) or not inputs:
        return x
    structure = getattr(model, "input", None)
    names = list(structure) if isinstance(structure, dict) else [tensor.name for tensor in inputs]
    if missing := [name for name in names if name not in x]:
        problem = f"`{argument}` must have the model's inputs {names}, got {sorted(x)}"
        raise InitxError(argument, sorted(x), f"a dict with {names}", f"Missing: {missing}.", problem)
    if isinstance(structure, dict):
        return {name: x[name] for name in names}
    return [x[name] for name in names] if len(names) > 1 else x[names[0]]


def _without_frames(data: Any) -> Any:
    """Convert data frames, series and lists of numbers to NumPy arrays; return everything else unchanged."""
    if hasattr(data, "to_numpy"):
        return data.to_numpy()
    if type(data) is list and data and all(map(is_number, keras.tree.flatten(data))):
        try:
            return np.asarray(data)
        except ValueError:
            # Rows of different lengths.
            return data
    if type(data) in (tuple, list):
        return type(data)(_without_frames(part) for part in data)
    return {name: _without_frames(part) for name, part in data.items()} if type(data) is dict else data


def _is_unsupported(array: Any) -> bool:
    """Return whether an array is sparse or ragged, complex, or holds objects other than strings."""
    if type(array).__name__.startswith(("Ragged", "Sparse", "csr", "csc", "coo")):
        return True
    if isinstance(array, np.ndarray) and array.dtype.kind == "O":
        return not all(isinstance(v, str | bytes) for v in array.ravel())
    return "complex" in str(array.dtype)


def _is_arrays(data: Any) -> bool:
    leaves = keras.tree.flatten(data)
    return bool(leaves) and all(hasattr(v, "shape") and hasattr(v, "dtype") for v in leaves)


def _collected(data: Any, size: int, argument: str) -> Batch:
    """Join batches until there are `size` samples: the inputs, and the other parts that all batches have."""
    batches: list[list[Any]] = []
    count = 0
    for batch in itertools.islice(_batches(data, argument), size):
        x = batch[0] if isinstance(batch, tuple) else batch
        _check_batch(x, batch, argument)
        parts = itertools.takewhile(_is_arrays, batch if isinstance(batch, tuple) else (x,))
        batches.append([keras.tree.map_structure(ops.convert_to_numpy, part) for part in parts])
        count += len(keras.tree.flatten(x)[0])
        if count >= size:
            break
    if not batches:
        received = f"an empty {type(data).__name__}"
        problem = f"`{argument}` must yield at least one batch, got {received}"
        raise InitxError(argument, received, "at least one batch", problem=problem)
    # `zip` drops the parts that some batch lacks: they would belong to fewer samples than the inputs.
    return Batch(*(_joined(parts) for parts in itertools.islice(zip(*batches, strict=False), 3)))


def _batches(data: Any, argument: str) -> Iterator[Any]:
    if isinstance(data, keras.utils.PyDataset):
        numbers = itertools.count() if data.num_batches is None else range(data.num_batches)
        return (data[number] for number in numbers)
    if hasattr(data, "__iter__"):
        return iter(data)
    received = type(data).__name__
    allowed = "arrays, a tf.data.Dataset, a PyDataset or a generator"
    remedy = f"Call the function: {argument}=f()." if callable(data) else ""
    problem = f"`{argument}` must be {allowed}, got an object of type {received}"
    raise InitxError(argument, received, allowed, remedy, problem)


def _check_batch(x: Any, batch: Any, argument: str) -> None:
    """Raise an `InitxError` unless the inputs of a batch are arrays with an axis for the samples."""
    if not _is_arrays(x):
        received = type(x).__name__
        allowed = "arrays, or batches of arrays: x, (x, y) or (x, y, weights)"
        remedy = "Convert lists with np.asarray." if isinstance(x, list | tuple | float | int) else ""
        problem = f"`{argument}` must be {allowed}, got an element of type {received}"
        raise InitxError(argument, received, allowed, remedy, problem)
    if any(not tuple(v.shape) for v in keras.tree.flatten(batch) if hasattr(v, "shape")):
        remedy = "Batch them first: dataset.batch(32)."
        problem = f"`{argument}` must yield batches, got single samples"
        raise InitxError(argument, "single samples", "batches", remedy, problem)


def _joined(parts: tuple[Any, ...]) -> Any:
    return keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
