"""Read the tensors and weights of one layer call, and patch an attribute for its duration."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import ops


def own_weights(layer: keras.Layer) -> list[keras.Variable]:
    """Return the weights of a layer without the weights of its sublayers."""
    inner = {id(v) for sub in layer._flatten_layers(include_self=False, recursive=True) for v in sub.weights}
    return [v for v in layer.weights if id(v) not in inner]


def first_tensor(outputs: Any) -> Any:
    """Return the first tensor in a structure."""
    return next(t for t in keras.tree.flatten(outputs) if ops.is_tensor(t))


def is_concrete(arguments: Any) -> bool:
    """Return whether all tensors have values; inside a compiled loop they have none."""
    for value in keras.tree.flatten(arguments):
        if ops.is_tensor(value):
            try:
                ops.convert_to_numpy(value)
            except Exception:
                return False
    return True


def zeros(variables: Iterable[keras.Variable]) -> list[tuple[keras.Variable, Any]]:
    """Return a state of zeros for `keras.StatelessScope`, which leaves the variables themselves unchanged."""
    return [(v, ops.zeros(v.shape, dtype=v.dtype)) for v in variables]


@contextlib.contextmanager
def patched_attribute(layer: keras.Layer, name: str, value: Any) -> Iterator[None]:
    """Set an attribute without the layer's own tracking, and restore the previous state at the end."""
    existed, before = name in layer.__dict__, layer.__dict__.get(name)
    layer.__dict__[name] = value
    try:
        yield
    finally:
        if existed:
            layer.__dict__[name] = before
        else:
            del layer.__dict__[name]
