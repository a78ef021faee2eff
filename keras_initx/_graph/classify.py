"""What kind of step a step of the graph is: weighted, an activation, a merge, or transparent."""

import functools
import re
from collections.abc import Callable
from typing import Any

import keras

from keras_initx._graph.trace import Graph, Step
from keras_initx._theory import LINEAR, Activation, read_activation
from keras_initx.errors import InitxError

NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
)
_ACTIVATION_LAYERS = (
    keras.layers.Activation,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
    keras.layers.ReLU,
    keras.layers.Softmax,
)
# Operations that are called otherwise than the activation they are.
_ALIASES = {"ReLU": "relu", "Exp": "exponential"}
# Further elementwise operations of which an activation may be put together: x * sigmoid(x), relu(x)**2.
_ELEMENTWISE = frozenset(
    [
        "Multiply",
        "Add",
        "Subtract",
        "Divide",
        "TrueDivide",
        "Square",
        "Power",
        "Sqrt",
        "Negative",
        "Abs",
        "Absolute",
        "Sin",
        "Cos",
        "Maximum",
        "Minimum",
        "Clip",
        "Erf",
        "Log1p",
        "Expm1",
        "Log",
        "Arctan",
        "Arcsinh",
        "Sinh",
        "Cosh",
    ]
)
_LINEAR_KINDS = frozenset({"Add", "Subtract", "Negative"})
MERGES = frozenset({"Add", "Subtract", "Average", "Concatenate", "Multiply", "Stack", "Maximum", "Minimum"})
SUMS = frozenset({"Add", "Average"})
_SCALINGS = frozenset({"Multiply", "Divide", "TrueDivide", "Add", "Subtract"})
_TRANSPARENT = frozenset(
    [
        "Reshape",
        "Transpose",
        "Permute",
        "Flatten",
        "Squeeze",
        "ExpandDims",
        "Cast",
        "GetItem",
        "Slice",
        "Pad",
        "BroadcastTo",
        "Split",
        "Stack",
        "Mean",
        "Concatenate",
        "Average",
        "Swapaxes",
        "Moveaxis",
        "Identity",
        "RepeatVector",
        "Repeat",
        "Roll",
        "Flip",
        "Take",
        "Resize",
        "Unstack",
        "LayerScale",
        "StochasticDepth",
        "DropPath",
        "ConvertToTensor",
        "Copy",
        "StopGradient",
    ]
)
_TRANSPARENT_PREFIXES = (
    "Cropping", "ZeroPadding", "UpSampling", "AveragePooling", "MaxPooling", "GlobalAveragePooling",
    "GlobalMaxPooling", "AveragePool", "MaxPool", "AdaptiveAveragePool", "AdaptiveMaxPool", "SpatialDropout",
)  # fmt: skip
_DROPOUTS = (
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
    keras.layers.Rescaling,
    keras.layers.Normalization,
)
# Operations that sum over an axis of a kernel.
CONTRACTIONS = frozenset(
    [
        "Matmul",
        "Dot",
        "Tensordot",
        "Einsum",
        "Conv",
        "DepthwiseConv",
        "SeparableConv",
        "ConvTranspose",
        "Vdot",
        "Inner",
    ]
)
ATTENTIONS = frozenset({"DotProductAttention"})


def operation(step: Step) -> Any:
    """The layer or operation that a step calls."""
    assert step.call is not None
    return step.call.operation


def is_normalization(step: Step) -> bool:
    """Whether a step brings its signal to mean 0 or variance 1, by its class or by what it is called."""
    return isinstance(operation(step), NORMALIZATIONS) or step.kind.endswith(("Normalization", "Norm"))


def kernels(step: Step) -> tuple[keras.Variable, ...]:
    """The weights of a step that multiply its signal: matrices, convolution kernels, look-up tables."""
    if not step.is_layer:
        given = keras.tree.flatten((step.call.args, step.call.kwargs)) if step.call else []
        if step.kind == "Take":
            # A look-up: of the first argument, by what follows.
            return tuple(v for v in given[:1] if isinstance(v, keras.Variable) and _is_matrix(v))
        if step.kind not in CONTRACTIONS:
            return ()
        found = [v for v in given if isinstance(v, keras.Variable)]
        found += list(step.call.tables.values()) if step.call else []
        return tuple(v for v in found if _is_matrix(v))
    if is_normalization(step) or isinstance(operation(step), _ACTIVATION_LAYERS):
        return ()
    return tuple(v for v in operation(step).weights if _is_matrix(v))


def _is_matrix(variable: keras.Variable) -> bool:
    floating = "float" in keras.backend.standardize_dtype(variable.dtype)
    # A frozen layer's kernel is drawn like any other, but no statistics and no state of a generator is.
    kernel = variable.trainable or variable.name.endswith(("kernel", "embeddings"))
    return floating and kernel and len(variable.shape) >= 2 and not variable.name.endswith("bias")


def is_weighted(step: Step) -> bool:
    """Whether a step multiplies its signal with weights."""
    return bool(kernels(step))


def is_merge(step: Step) -> bool:
    """Whether a step joins two or more different signals."""
    return step.kind in MERGES and len(set(step.inputs)) > 1


def is_transparent(step: Step) -> bool:
    """Whether an activation after the step acts on what came before it, scale and shape aside."""
    if is_normalization(step) or isinstance(operation(step), _DROPOUTS):
        return True
    if step.kind in _SCALINGS and (
        step.kind in SUMS or step.kind == "Subtract" or len(set(step.inputs)) == 1
    ):
        return True
    if step.kind == "Activation":
        return own_activation(step) == LINEAR
    return step.kind in _TRANSPARENT or step.kind.startswith(_TRANSPARENT_PREFIXES)


def own_activation(step: Step) -> Activation | None:
    """The activation that a step is (a layer or an operation); None for another step."""
    op = operation(step)
    if step.is_layer:
        return _readable(op) if isinstance(op, _ACTIVATION_LAYERS) else None
    name = _ALIASES.get(step.kind) or re.sub(r"(?<!^)(?=[A-Z])", "_", step.kind).lower()
    function = getattr(keras.activations, name, None)
    if function is None or len(step.inputs) != 1:
        return None
    given = {key: value for key, value in op.get_config().items() if key != "name" and value is not None}
    return _readable(functools.partial(function, **given) if given else name)


def applied_activation(step: Step) -> Activation | None:
    """The activation that a weighted layer applies itself; None where it has none, or a gate."""
    layer = operation(step)
    if not step.is_layer or isinstance(layer, keras.layers.RNN):
        return None
    activation = getattr(layer, "activation", None)
    if not callable(activation):
        return None
    read = _readable(activation)
    return None if read is None or read == LINEAR else read


def _readable(activation: Any) -> Activation | None:
    try:
        return read_activation(activation)
    except InitxError:
        return None


def activation_after(graph: Graph, tensor: int) -> tuple[Activation, int] | None:
    """The elementwise function that the steps right after a tensor make of it, and the tensor it gives.

    One step (ReLU), or several that take nothing but this tensor and numbers: x * sigmoid(x). None where
    the tensor goes on as it is, or only scaled.
    """
    made: dict[int, Callable[[Any], Any]] = {tensor: lambda z: z}
    steps: list[Step] = []
    pending = list(graph.consumers(tensor))
    while pending:
        step = min(pending, key=lambda s: s.number)
        pending.remove(step)
        if any(s.number == step.number for s in steps) or not _is_elementwise(step, made):
            continue
        steps.append(step)
        made[step.outputs[0]] = _composed(step, made)
        pending += graph.consumers(step.outputs[0])
    if all(step.kind in _LINEAR_KINDS or _is_scaling(step) for step in steps):
        return None
    inside = {step.number for step in steps}
    exits = [s for s in steps if not {c.number for c in graph.consumers(s.outputs[0])} <= inside]
    exits = exits or steps[-1:]
    first, end = own_activation(steps[0]), exits[-1]
    read: Activation | None
    # Where the signal is read at several points, the first activation on the way is the one it meets.
    if first is not None and (len(steps) == 1 or len(exits) > 1 or exits[0] is steps[0]):
        end, read = steps[0], first
    else:
        function = made[end.outputs[0]]
        function.__name__ = "_".join(step.kind.lower() for step in steps)
        read = _readable(function)
    return None if read is None or read == LINEAR else (read, end.outputs[0])


def _is_elementwise(step: Step, made: dict[int, Any]) -> bool:
    if len(step.outputs) != 1 or not step.inputs or not set(step.inputs) <= made.keys():
        return False
    if step.is_layer:
        activation = own_activation(step)
        return activation is not None and (step.kind != "PReLU")
    if step.kind not in _ELEMENTWISE and own_activation(step) is None:
        return False
    others = keras.tree.flatten((step.call.args, step.call.kwargs)) if step.call else []
    return all(_is_scalar(v) for v in others if not isinstance(v, keras.KerasTensor))


def _is_scaling(step: Step) -> bool:
    return step.kind in _SCALINGS and len(step.inputs) == 1


def _is_scalar(value: Any) -> bool:
    if isinstance(value, keras.Variable):
        return False
    shape = getattr(value, "shape", ())
    return all(n == 1 for n in tuple(shape))


def _composed(step: Step, made: dict[int, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    functions = [made[number] for number in step.inputs]
    assert step.call is not None
    given, op = (step.call.args, step.call.kwargs), step.call.operation

    def function(z: Any) -> Any:
        values = iter(functions)
        flat = keras.tree.flatten(given)
        filled = [next(values)(z) if isinstance(v, keras.KerasTensor) else v for v in flat]
        args, kwargs = keras.tree.pack_sequence_as(given, filled)
        return op.call(*args, **kwargs)

    return function
