"""The signal of each layer before training: pre-activations, gradients and histograms."""

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

# A curve of more layers looks the same, and some databases limit an attribute to 64 KiB.
MAX_LAYERS = 256
BINS = 64
# More values change nothing visible in a histogram of 64 bins, and take time.
MAX_VALUES = 2**17


@dataclass(frozen=True)
class LayerStart:
    """A layer with a kernel, before training, on one batch.

    Attributes:
        name: Its path in the model.
        forward: The standard deviation of its pre-activations; not finite if they are not, and None if they
            are unknown.
        backward: The root mean square of its gradient; not finite if the gradient is not, and None if it is
            unknown.
        histograms: Histograms by name: "weights/" and "gradients/" followed by a kernel's name, and
            "activations" of the values behind `forward`.
    """

    name: str
    forward: float | None = None
    backward: float | None = None
    histograms: Mapping[str, Histogram] = field(default_factory=dict, compare=False)


def as_record(layers: Sequence[LayerStart]) -> list[list[Any]]:
    """Return the curves of the layers as an attribute of the study, with at most `MAX_LAYERS` layers."""
    last = len(layers) - 1
    count = min(len(layers), MAX_LAYERS)
    indices = range(count) if count == len(layers) else (round(n * last / (count - 1)) for n in range(count))
    return [[n + 1, layers[n].name, _json(layers[n].forward), _json(layers[n].backward)] for n in indices]


def from_record(record: Sequence[Sequence[Any]]) -> dict[int, LayerStart]:
    """Return the layers of an attribute written by `as_record`, by depth from 1."""
    return {depth: LayerStart(name, forward, backward) for depth, name, forward, backward in record}


def _json(value: float | None) -> float | None:
    # JSON has no infinity and no NaN, although Python writes them.
    return value if value is not None and math.isfinite(value) else None


def subsample(values: np.ndarray) -> np.ndarray:
    """Return the values as a flat float64 array; more than `MAX_VALUES` are drawn with replacement.

    The draws use a fixed seed, so that the same tensor always gives the same sample.
    """
    flat = np.reshape(values, -1)
    if flat.size > MAX_VALUES:
        # Every n-th value of a layer of n units would always come from the same few units.
        flat = flat[np.random.default_rng(0).integers(flat.size, size=MAX_VALUES)]
    return flat.astype("float64")


def histogram_of(values: np.ndarray) -> Histogram | None:
    """Return the histogram of a `subsample` of the values, without values that are not finite.

    Equal values fall into one bin, in the middle of a range as wide as the value, or of width 1 at zero.

    Returns:
        The histogram; None without a finite value.

    Example:

    >>> histogram = histogram_of(np.array([0.0, 1.0, 1.0, float("nan")]))
    >>> histogram.edges[0], histogram.edges[-1], sum(histogram.counts)
    (0.0, 1.0, 3)
    """
    flat = subsample(values)
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return None
    low, high = float(np.min(flat)), float(np.max(flat))
    # The edges must differ, but a range of equal values, or of almost equal large values, has no width.
    if high - low <= BINS * np.spacing(max(abs(low), abs(high))):
        reach = 0.5 * abs(low) if low else 0.5
        low, high = low - reach, high + reach
    counts, edges = np.histogram(flat, bins=BINS, range=(low, high))
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))


def kernel_layers(model: keras.Model) -> dict[int, keras.Layer]:
    """Return the layer of each trainable variable of two or more axes, by the variable's id.

    Of nested layers it is the innermost. The kernels of a recurrent cell, which is not a layer of the model
    itself, belong to the recurrent layer.
    """
    smallest: dict[int, tuple[int, keras.Layer]] = {}
    for layer in all_layers(model):
        # Counted once, because `variables` of a nested model visits all of its layers.
        size = len(layer.variables)
        for variable in layer.trainable_variables:
            known = smallest.get(id(variable))
            if len(variable.shape) > 1 and (known is None or size < known[0]):
                smallest[id(variable)] = size, layer
    return {key: layer for key, (_, layer) in smallest.items()}


@contextmanager
def capture_outputs(model: keras.Model) -> Iterator[dict[int, np.ndarray]]:
    """Capture what each layer with a kernel computes in its first call within the block.

    The captured tensor is the input of the layer's activation, or the layer's output if it has none.

    Args:
        model: A built model, to be called eagerly. Its layers are restored afterwards.

    Yields:
        A `subsample` of each layer's values by the layer's id, in the order of the calls.
    """
    captured: dict[int, np.ndarray] = {}
    changed: list[tuple[dict[str, Any], str, Any]] = []
    layers = {id(layer): layer for layer in kernel_layers(model).values()}
    try:
        for key, layer in layers.items():
            # Through `vars`, because Keras tracks an attribute that is set, and a built layer refuses it.
            attributes = vars(layer)
            name = "activation" if callable(attributes.get("activation")) else "call"
            changed.append((attributes, name, attributes.get(name)))
            capture = _capture_input if name == "activation" else _capture_output
            attributes[name] = capture(getattr(layer, name), key, captured)
        yield captured
    finally:
        for attributes, name, original in reversed(changed):
            if original is None:
                del attributes[name]
            else:
                attributes[name] = original


def layer_starts(
    model: keras.Model, outputs: Mapping[int, np.ndarray], gradients: Mapping[int, np.ndarray] | None = None
) -> tuple[LayerStart, ...]:
    """Return the layers with a kernel: first the layers that were called, in that order, then the others.

    Args:
        model: A built model.
        outputs: What `capture_outputs` captured of its layers.
        gradients: The gradient of each kernel, by the variable's id.
    """
    kernels: dict[int, list[keras.Variable]] = {key: [] for key in outputs}
    layer_of = kernel_layers(model)
    for variable in model.trainable_variables:
        if id(variable) in layer_of:
            kernels.setdefault(id(layer_of[id(variable)]), []).append(variable)
    layers = {id(layer): layer for layer in layer_of.values()}
    gradients = gradients or {}
    starts = []
    for key, variables in kernels.items():
        histograms = {f"weights/{v.name}": histogram_of(_array(v)) for v in variables}
        of_kernels = {v.name: gradients[id(v)] for v in variables if id(v) in gradients}
        histograms |= {f"gradients/{name}": histogram_of(values) for name, values in of_kernels.items()}
        forward = backward = None
        if key in outputs:
            histograms["activations"] = histogram_of(outputs[key])
            with np.errstate(invalid="ignore"):
                forward = float(np.std(outputs[key]))
        if of_kernels:
            # The first kernel of a recurrent layer is the kernel of its inputs.
            backward = float(np.sqrt(np.mean(np.square(next(iter(of_kernels.values()))))))
        not_empty: dict[str, Histogram] = {name: h for name, h in histograms.items() if h is not None}
        starts.append(LayerStart(layers[key].path, forward, backward, not_empty))
    return tuple(starts)


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor))


def _capture_input(
    function: Callable[..., Any], key: int, captured: dict[int, np.ndarray]
) -> Callable[..., Any]:
    def capturing(inputs: Any, *args: Any, **kwargs: Any) -> Any:
        _capture(inputs, key, captured)
        return function(inputs, *args, **kwargs)

    return capturing


def _capture_output(
    function: Callable[..., Any], key: int, captured: dict[int, np.ndarray]
) -> Callable[..., Any]:
    def capturing(*args: Any, **kwargs: Any) -> Any:
        outputs = function(*args, **kwargs)
        _capture(next(iter(keras.tree.flatten(outputs)), None), key, captured)
        return outputs

    return capturing


def _capture(tensor: Any, key: int, captured: dict[int, np.ndarray]) -> None:
    if tensor is None or key in captured:
        return
    try:
        captured[key] = subsample(_array(tensor))
    except Exception:
        # A tensor in a function that the model compiles by itself has no values, so it is left out.
        return
