"""Classify steps: weighted, an activation, a merge, a normalization, a look-up or a pass-through."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._graph.records import Graph, Step
from keras_initx._theory import LINEAR, Activation, read_activation
from keras_initx.errors import InitxError

_NORMALIZATIONS = (
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
# Operations whose name differs from the activation that they compute.
_ALIASES = {"ReLU": "relu", "Exp": "exponential"}
# Elementwise operations that people combine into activations: x * sigmoid(x), relu(x)**2.
ELEMENTWISE = frozenset(
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
# Elementwise operations that are linear even in two inputs.
_LINEAR_KINDS = frozenset({"Add", "Subtract", "Negative"})
# Steps that join several signals, and the sums among them.
_MERGES = frozenset({"Add", "Subtract", "Average", "Concatenate", "Multiply", "Stack", "Maximum", "Minimum"})
SUMS = frozenset({"Add", "Average"})
# Operations that scale or shift a single signal, by a number.
# Elementwise products and quotients.
PRODUCTS = frozenset({"Multiply", "Divide", "TrueDivide"})
_SCALINGS = PRODUCTS | {"Add", "Subtract"}
# Steps that move, select or average values, or scale them by learned factors.
_PASS_THROUGH = frozenset(
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
_PASS_THROUGH_PREFIXES = (
    "Cropping", "ZeroPadding", "UpSampling", "AveragePooling", "MaxPooling", "GlobalAveragePooling",
    "GlobalMaxPooling", "AveragePool", "MaxPool", "AdaptiveAveragePool", "AdaptiveMaxPool", "SpatialDropout",
)  # fmt: skip
# Layers whose subclasses pass the signal through as well, apart from noise, scale and shift.
_PASS_THROUGH_LAYERS = (
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
    keras.layers.Rescaling,
    keras.layers.Normalization,
)
# Operations that sum over an axis of a kernel or of a second signal.
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


def classified(step: Step) -> Step:
    """Return the step with its class: the fields from `kernels` on."""
    normalizes = _is_normalization(step)
    kernels = () if normalizes else _kernels(step)
    activation = _activation(step)
    return replace(
        step,
        kernels=kernels,
        bias=_bias(step),
        activation=activation,
        applied_activation=_applied_activation(step) if kernels else None,
        is_normalization=normalizes,
        is_merge=step.kind in _MERGES and len(set(step.inputs)) > 1,
        is_pass_through=normalizes or _is_pass_through(step, activation),
        is_lookup=_is_lookup(step),
    )


def _is_normalization(step: Step) -> bool:
    return isinstance(step.operation, _NORMALIZATIONS) or (
        step.kind.endswith(("Normalization", "Norm", "Normalize")) and step.kind != "Norm"
    )


def _is_lookup(step: Step) -> bool:
    if not isinstance(step.operation, keras.layers.Embedding):
        return step.kind == "Take"
    # A reversible embedding is also called the other way round, as the projection to the logits: then it
    # adds no axis.
    return len(step.shapes[0]) > len(step.call.arguments[0].shape)


def _kernels(step: Step) -> tuple[keras.Variable, ...]:
    if not step.is_layer:
        if step.kind == "Take":
            # The look-up table is the first argument, the indices follow.
            first = step.call.arguments[:1]
            return tuple(v for v in first if isinstance(v, keras.Variable) and _is_matrix(v))
        return tuple(filter(_is_matrix, step.call.variables)) if step.kind in CONTRACTIONS else ()
    if isinstance(step.operation, _ACTIVATION_LAYERS):
        return ()
    matrices = tuple(filter(_is_matrix, step.operation.weights))
    # An embedding whose projection is a matrix of its own uses one of the two in each call.
    if (projection := getattr(step.operation, "reverse_embeddings", None)) is not None:
        matrices = tuple(v for v in matrices if (v is projection) != _is_lookup(step))
    return matrices


def _is_matrix(variable: keras.Variable) -> bool:
    floating = "float" in keras.backend.standardize_dtype(variable.dtype)
    # The kernel of a frozen layer is drawn like any other; statistics and generator states are not.
    kernel = variable.trainable or variable.name.endswith(("kernel", "embeddings"))
    return floating and kernel and len(variable.shape) >= 2 and not variable.name.endswith("bias")


def _bias(step: Step) -> keras.Variable | None:
    bias = getattr(step.operation, "bias", None) if step.is_layer else None
    return bias if isinstance(bias, keras.Variable) and len(bias.shape) == 1 else None


def _is_pass_through(step: Step, activation: Activation | None) -> bool:
    if isinstance(step.operation, _PASS_THROUGH_LAYERS):
        return True
    if step.kind in _SCALINGS and (
        step.kind in SUMS or step.kind == "Subtract" or len(set(step.inputs)) == 1
    ):
        return True
    if step.kind == "Activation":
        return activation == LINEAR
    return step.kind in _PASS_THROUGH or step.kind.startswith(_PASS_THROUGH_PREFIXES)


def _activation(step: Step) -> Activation | None:
    if step.is_layer:
        return _readable(step.operation) if isinstance(step.operation, _ACTIVATION_LAYERS) else None
    name = _ALIASES.get(step.kind) or re.sub(r"(?<!^)(?=[A-Z])", "_", step.kind).lower()
    function = getattr(keras.activations, name, None)
    if function is None or len(step.inputs) != 1:
        return None
    config = step.operation.get_config().items()
    arguments = {key: value for key, value in config if key != "name" and value is not None}
    return _readable(functools.partial(function, **arguments) if arguments else name)


def _applied_activation(step: Step) -> Activation | None:
    if not step.is_layer or step.is_recurrent:
        return None
    function = getattr(step.operation, "activation", None)
    activation = _readable(function) if callable(function) else None
    return None if activation == LINEAR else activation


def _readable(activation: Any) -> Activation | None:
    """Return the activation; None if it cannot be read."""
    try:
        return read_activation(activation)
    except InitxError:
        return None


def activation_after(graph: Graph, tensor: int) -> tuple[Activation, int] | None:
    """Return the activation that the steps right after a tensor compute, and the number of its result.

    The activation is one step (ReLU), or several steps that read only this tensor and numbers:
    x * sigmoid(x). None if the tensor is used as it is, or only scaled.
    """
    if tensor not in graph.activations:
        graph.activations[tensor] = _activation_after(graph, tensor)
    return graph.activations[tensor]


def _activation_after(graph: Graph, tensor: int) -> tuple[Activation, int] | None:
    # The function from the tensor to each tensor that it alone determines.
    functions: dict[int, Callable[[Any], Any]] = {tensor: lambda z: z}
    steps: list[Step] = []
    pending = list(graph.consumers(tensor))
    while pending:
        step = min(pending, key=lambda s: s.number)
        pending.remove(step)
        if any(s.number == step.number for s in steps) or not _is_elementwise(step, functions):
            continue
        steps.append(step)
        functions[step.outputs[0]] = _composed(step, functions)
        pending += graph.consumers(step.outputs[0])
    if all(step.kind in _LINEAR_KINDS or _is_scaling(step) for step in steps):
        return None
    inside = {step.number for step in steps}
    exits = [s for s in steps if not {c.number for c in graph.consumers(s.outputs[0])} <= inside]
    exits = exits or steps[-1:]
    first, end = steps[0].activation, exits[-1]
    activation: Activation | None
    # If several points of the signal are read, its activation is the first one on the way.
    if first is not None and (len(steps) == 1 or len(exits) > 1 or exits[0] is steps[0]):
        end, activation = steps[0], first
    else:
        function = functions[end.outputs[0]]
        function.__name__ = "_".join(step.kind.lower() for step in steps)
        activation = _readable(function)
    return None if activation is None or activation == LINEAR else (activation, end.outputs[0])


def _is_elementwise(step: Step, functions: dict[int, Any]) -> bool:
    """Return whether a step is an elementwise function, whose arguments are in `functions` or numbers."""
    if len(step.outputs) != 1 or not step.inputs or not set(step.inputs) <= functions.keys():
        return False
    if step.is_layer:
        return _is_scaling(step) or (step.activation is not None and step.kind != "PReLU")
    if step.kind not in ELEMENTWISE and step.activation is None:
        return False
    return all(_is_scalar(v) for v in step.call.arguments if not isinstance(v, keras.KerasTensor))


def _is_scaling(step: Step) -> bool:
    if isinstance(step.operation, keras.layers.Rescaling):
        return np.ndim(step.operation.scale) == np.ndim(step.operation.offset) == 0
    return step.kind in _SCALINGS and len(step.inputs) == 1


def _is_scalar(value: Any) -> bool:
    if isinstance(value, keras.Variable):
        # A trainable factor counts with its current value. A zero closes a branch, and belongs to it.
        return len(value.shape) == 0 and bool(keras.ops.convert_to_numpy(value) != 0)
    shape = getattr(value, "shape", ())
    return all(n == 1 for n in tuple(shape))


def _composed(step: Step, functions: dict[int, Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return the function that a step computes from the tensor that all its inputs depend on."""
    inner = [functions[number] for number in step.inputs]
    arguments, operation = (step.call.args, step.call.kwargs), step.operation

    def function(z: Any) -> Any:
        values = iter(inner)
        flat = keras.tree.flatten(arguments)
        filled = [next(values)(z) if isinstance(v, keras.KerasTensor) else v for v in flat]
        args, kwargs = keras.tree.pack_sequence_as(arguments, filled)
        return operation.call(*args, **kwargs)

    return function
