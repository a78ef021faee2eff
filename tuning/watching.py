"""Sees what the layers of a model compute in one call of it, and tells it layer by layer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx import all_layers
from keras_initx._event_files import Histogram

from .histograms import histogram_of, thinned
from .starts import LayerStart


def owners_of(model: keras.Model) -> dict[int, keras.Layer]:
    """The layer that each trainable variable of two or more axes belongs to, by the variable's id.

    Of layers around one another it is the innermost; of a recurrent layer and its cell, which is no step of
    the model of its own, the layer.
    """
    owners: dict[int, tuple[int, keras.Layer]] = {}
    for layer in all_layers(model):
        # Of a model it is a walk through all of its layers.
        size = len(layer.variables)
        for variable in layer.trainable_variables:
            known = owners.get(id(variable))
            if len(variable.shape) > 1 and (known is None or size < known[0]):
                owners[id(variable)] = size, layer
    return {key: layer for key, (_, layer) in owners.items()}


@contextmanager
def watching(model: keras.Model) -> Iterator[dict[int, np.ndarray]]:
    """Within it, layers with a kernel keep what they compute in a call of the model, the first time each.

    That is what goes into the layer's activation; where a layer calls none, what comes out of it.

    Args:
        model: A built model, to be called eagerly. It is as it was afterwards.

    Yields:
        A sample of each layer's values (as `thinned`) by the layer's id, in the order of the calls.
    """
    seen: dict[int, np.ndarray] = {}
    changed: list[tuple[dict[str, Any], str, Any]] = []
    layers = {id(layer): layer for layer in owners_of(model).values()}
    try:
        for key, layer in layers.items():
            # By the dictionary: an attribute that is set is tracked, and refused by a layer that is built.
            attributes = vars(layer)
            name = "activation" if callable(attributes.get("activation")) else "call"
            changed.append((attributes, name, attributes.get(name)))
            watch = _before if name == "activation" else _after
            attributes[name] = watch(getattr(layer, name), key, seen)
        yield seen
    finally:
        for attributes, name, own in reversed(changed):
            if own is None:
                del attributes[name]
            else:
                attributes[name] = own


def layer_starts(
    model: keras.Model, outputs: Mapping[int, np.ndarray], gradients: Mapping[int, np.ndarray] | None = None
) -> tuple[LayerStart, ...]:
    """The layers with a kernel: those that were called in that order, then the others.

    Args:
        model: A built model.
        outputs: What `watching` saw of its layers.
        gradients: The gradient of each kernel, by the variable's id.
    """
    kernels: dict[int, list[keras.Variable]] = {key: [] for key in outputs}
    owners = owners_of(model)
    for variable in model.trainable_variables:
        if id(variable) in owners:
            kernels.setdefault(id(owners[id(variable)]), []).append(variable)
    layers = {id(layer): layer for layer in owners.values()}
    gradients = gradients or {}
    found = []
    for key, own in kernels.items():
        histograms = {f"weights/{v.name}": histogram_of(_array(v)) for v in own}
        of_kernels = {v.name: gradients[id(v)] for v in own if id(v) in gradients}
        histograms |= {f"gradients/{name}": histogram_of(values) for name, values in of_kernels.items()}
        forward = backward = None
        if key in outputs:
            histograms["activations"] = histogram_of(outputs[key])
            with np.errstate(invalid="ignore"):
                forward = float(np.std(outputs[key]))
        if of_kernels:
            # Of a recurrent layer the first is that of its inputs.
            backward = float(np.sqrt(np.mean(np.square(next(iter(of_kernels.values()))))))
        drawn: dict[str, Histogram] = {name: h for name, h in histograms.items() if h is not None}
        found.append(LayerStart(layers[key].path, forward, backward, drawn))
    return tuple(found)


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def _before(function: Callable[..., Any], key: int, seen: dict[int, np.ndarray]) -> Callable[..., Any]:
    def watched(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        _keep(inputs, key, seen)
        return function(inputs, *args, **kwargs)

    return watched


def _after(function: Callable[..., Any], key: int, seen: dict[int, np.ndarray]) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        outputs = function(*args, **kwargs)
        _keep(next(iter(keras.tree.flatten(outputs)), None), key, seen)
        return outputs

    return watched


def _keep(tensor: Any, key: int, seen: dict[int, np.ndarray]) -> None:
    if tensor is None or key in seen:
        return
    try:
        seen[key] = thinned(_array(tensor))
    except Exception:
        # Within a function that the model compiles by itself a tensor has no values: it is not shown.
        return
