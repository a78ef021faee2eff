"""Let variables and arrays stand on the left of an operator with a symbolic tensor on its right."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

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
