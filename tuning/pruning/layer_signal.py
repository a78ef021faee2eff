"""Sees what the layers of a model compute in one call of it, and tells it layer by layer."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx import all_layers
from keras_initx._event_files import Histogram

LAYERS = 256


@dataclass(frozen=True)
class LayerStart:
    """A layer with a kernel, before training, on one batch.

    Attributes:
        name: Its path in the model.
        forward: The standard deviation of its pre-activations; not finite where they are not, and None
            where they are not known.
        backward: The root mean square of the gradient, likewise.
        histograms: Those of its values: "weights/" and "gradients/" with a kernel's name, "activations" (of
            what `forward` is of).
    """

    name: str
    forward: float | None = None
    backward: float | None = None
    histograms: Mapping[str, Histogram] = field(default_factory=dict, compare=False)


def as_record(layers: Sequence[LayerStart]) -> list[list[Any]]:
    """The curves of the layers as an attribute of the study; of more than `LAYERS` so many of them."""
    last = len(layers) - 1
    count = min(len(layers), LAYERS)
    kept = range(count) if count == len(layers) else (round(n * last / (count - 1)) for n in range(count))
    return [[n + 1, layers[n].name, _json(layers[n].forward), _json(layers[n].backward)] for n in kept]


def from_record(record: Sequence[Sequence[Any]]) -> dict[int, LayerStart]:
    """The layers of such an attribute, by their depth from 1."""
    return {depth: LayerStart(name, forward, backward) for depth, name, forward, backward in record}


def _json(value: float | None) -> float | None:
    # JSON has no other numbers, whatever Python writes.
    return value if value is not None and math.isfinite(value) else None


BINS = 64


# More values than these say no more about a histogram of so many bins, and cost.
VALUES = 2**17


def subsample(values: np.ndarray) -> np.ndarray:
    """All values in a row, as float64; of more than `VALUES` as many, drawn with replacement.

    The draws are always the same: looking twice at the same tensor shows the same.
    """
    flat = np.reshape(values, -1)
    if flat.size > VALUES:
        # Not every n-th: that would be the same few units of a layer of n units.
        flat = flat[np.random.default_rng(0).integers(flat.size, size=VALUES)]
    return flat.astype("float64")


def histogram_of(values: np.ndarray) -> Histogram | None:
    """The histogram of the finite ones among the values, as `subsample`; None where there is none.

    Equal values are all in one bin, in the middle of a range of width 1, or less for small ones.

    Example:

    >>> found = histogram_of(np.array([0.0, 1.0, 1.0, float("nan")]))
    >>> found.edges[0], found.edges[-1], sum(found.counts)
    (0.0, 1.0, 3)
    """
    flat = subsample(values)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return None
    low, high = float(np.min(flat)), float(np.max(flat))
    # The edges must differ: a range of equal values, or of almost equal large ones, has no width.
    if high - low <= BINS * np.spacing(max(abs(low), abs(high))):
        reach = 0.5 * abs(low) if low else 0.5
        low, high = low - reach, high + reach
    counts, edges = np.histogram(flat, bins=BINS, range=(low, high))
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))


def kernel_layers(model: keras.Model) -> dict[int, keras.Layer]:
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
def capture_outputs(model: keras.Model) -> Iterator[dict[int, np.ndarray]]:
    """Within it, layers with a kernel keep what they compute in a call of the model, the first time each.

    That is what goes into the layer's activation; where a layer calls none, what comes out of it.

    Args:
        model: A built model, to be called eagerly. It is as it was afterwards.

    Yields:
        A sample of each layer's values (as `subsample`) by the layer's id, in the order of the calls.
    """
    seen: dict[int, np.ndarray] = {}
    changed: list[tuple[dict[str, Any], str, Any]] = []
    layers = {id(layer): layer for layer in kernel_layers(model).values()}
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
        outputs: What `capture_outputs` saw of its layers.
        gradients: The gradient of each kernel, by the variable's id.
    """
    kernels: dict[int, list[keras.Variable]] = {key: [] for key in outputs}
    owners = kernel_layers(model)
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
        seen[key] = subsample(_array(tensor))
    except Exception:
        # Within a function that the model compiles by itself a tensor has no values: it is not shown.
        return


# A curve of more layers looks the same, and some databases take no attribute beyond 64 KiB.
