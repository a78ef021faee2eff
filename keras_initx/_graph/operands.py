"""Handle the variables, arrays and constants that a symbolic call combines with its tensors."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

# Operators of a variable, with the `keras.ops` function for each.
_OPERATORS = {
    "__add__": "add",
    "__sub__": "subtract",
    "__mul__": "multiply",
    "__truediv__": "divide",
    "__matmul__": "matmul",
    "__pow__": "power",
}
# Attributes by which NumPy and JAX decide whether to try their own operator first. They would raise an error;
# without them they leave the operator to the symbolic tensor.
_DEFERRING = ("__array_ufunc__", "__jax_array__")
_MISSING = object()
# Number of values in a look-up table of 65,536 positions with 128 features.
_LARGEST_TABLE = 2**23


@contextlib.contextmanager
def operators_for_tensors() -> Iterator[None]:
    """Pass symbolic operands to `keras.ops`, as the operators of the backend do with real ones.

    The caller holds a lock: the hooks affect the whole process.
    """
    originals = {name: getattr(keras.Variable, name) for name in _OPERATORS}
    symbolic = keras.KerasTensor
    attributes = {name: vars(symbolic).get(name, _MISSING) for name in _DEFERRING}
    try:
        for name, original in originals.items():
            setattr(keras.Variable, name, _for_tensors(original, getattr(keras.ops, _OPERATORS[name])))
        symbolic.__array_ufunc__ = None
        if attributes["__jax_array__"] is not _MISSING:
            del symbolic.__jax_array__
        yield
    finally:
        for name, original in originals.items():
            setattr(keras.Variable, name, original)
        for name, value in attributes.items():
            if value is not _MISSING:
                setattr(symbolic, name, value)
            elif name in vars(symbolic):
                delattr(symbolic, name)


def _for_tensors(original: Callable[..., Any], operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return a variable's operator that passes symbolic tensors to `keras.ops`, as the backend's does not."""

    def operator(variable: keras.Variable, other: Any) -> Any:
        return (
            operation(variable, other) if isinstance(other, keras.KerasTensor) else original(variable, other)
        )

    return operator


class WeightSources:
    """The trainable weights of a model, compared with the constants that its call makes from them."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._weight_rows: list[tuple[keras.Variable, np.ndarray]] | None = None

    def source(self, value: Any) -> keras.Variable | None:
        """Return the variable that a constant was made from by slicing, broadcasting or reshaping it."""
        if isinstance(value, keras.KerasTensor | keras.Variable | np.ndarray):
            return None
        if not keras.ops.is_tensor(value) or not tuple(value.shape) or tuple(value.shape)[-1] == 1:
            return None
        if "float" not in keras.backend.standardize_dtype(value.dtype):
            return None
        if (whole := self._transposed(value)) is not None:
            return whole
        rows = _rows(keras.ops.convert_to_numpy(value))
        # Rows of zeros do not show where they come from.
        if not rows.size or not np.any(rows[0]):
            return None
        for variable, table in self._weights_as_rows(rows.shape[-1]):
            # The first row alone may agree by chance: a mask that leaves it as it is changes others.
            if _has_row(table, rows[0]) and _has_row(table, rows[-1]) and _rows_of(rows) <= _rows_of(table):
                return variable
        for variable, table in self._weights_as_rows(None):
            if table.size == rows.size and np.array_equal(
                np.sort(table, axis=None), np.sort(rows, axis=None)
            ):
                return variable
        return None

    def _transposed(self, value: Any) -> keras.Variable | None:
        """Return the matrix, of any size, that a constant is the transpose of."""
        shape = tuple(value.shape)
        for variable in self._model.trainable_variables:
            if len(shape) == 2 and tuple(variable.shape) == shape[::-1]:
                turned = keras.ops.transpose(keras.ops.cast(variable, value.dtype))
                if bool(keras.ops.any(value != 0)) and bool(keras.ops.all(turned == value)):
                    return variable
        return None

    def _weights_as_rows(self, width: int | None) -> list[tuple[keras.Variable, np.ndarray]]:
        """Return the model's weights as matrices of rows; only weights of this width unless it is None."""
        if self._weight_rows is None:
            self._weight_rows = [
                # Larger variables are kernels and look-up tables, which no model slices.
                (variable, _rows(keras.ops.convert_to_numpy(variable)))
                for variable in self._model.trainable_variables
                # The length, because TensorFlow's shape of a scalar is true as a condition.
                if len(variable.shape) and np.prod(variable.shape) <= _LARGEST_TABLE
            ]
        return [(v, rows) for v, rows in self._weight_rows if width in (None, rows.shape[-1])]


def _has_row(table: np.ndarray, row: np.ndarray) -> bool:
    return bool(np.any((table[:, 0] == row[0]) & np.all(table == row, axis=1)))


def _rows_of(table: np.ndarray) -> set[bytes]:
    # Adding 0 turns -0 into 0, which compares equal but has other bytes.
    return {row.tobytes() for row in table + np.float32(0)}


def _rows(values: np.ndarray) -> np.ndarray:
    return np.reshape(np.asarray(values, dtype="float32"), (-1, np.shape(values)[-1]))
