"""Find out what the integers of a model input are: rows of a look-up table, a mask, or something unknown."""

import inspect
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._graph.classify import CONTRACTIONS
from keras_initx._graph.records import SHAPE_ONLY, Graph, Step, union

# Operations whose result has the values of their arguments, moved, combined or scaled: a mask stays a mask,
# and ids stay ids.
_PASSING = frozenset(
    [
        "Cast",
        "ConvertToTensor",
        "Copy",
        "Identity",
        "StopGradient",
        "Reshape",
        "Flatten",
        "ExpandDims",
        "Squeeze",
        "Transpose",
        "Permute",
        "Swapaxes",
        "Moveaxis",
        "BroadcastTo",
        "Repeat",
        "RepeatVector",
        "Tile",
        "GetItem",
        "Slice",
        "Split",
        "Unstack",
        "Concatenate",
        "Stack",
        "Pad",
        "Flip",
        "Roll",
        "Tril",
        "Triu",
        "Minimum",
        "Maximum",
        "Min",
        "Max",
        "Amin",
        "Amax",
        "Clip",
        "Divide",
        "TrueDivide",
    ]
)
# Operations that combine masks bit by bit.
_BITWISE = frozenset({"BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitwiseInvert"})
# Operations that combine masks, numbers and signals alike.
_ARITHMETIC = frozenset(
    ["Add", "Average", "Subtract", "Multiply", "Mod", "Negative", "Abs", "Absolute", "Log", "Log1p", "Power"]
)
# Operations that make a mask of sums of masks again, as min(a + b, 1) and (a + b) // 2 do.
_BOUNDING = frozenset({"Clip", "Minimum", "Maximum", "Relu", "FloorDivide", "Sign"})
# Operations that read integers as weights of 0 and 1.
_WEIGHTING = frozenset({"Multiply", "Subtract", "Masking", "Softmax", "DotProductAttention"})
# Operations that add up masks and other integers alike.
_COUNTING = frozenset({"Sum", "Cumsum", "Prod", "CountNonzero"})


def table_rows(graph: Graph, number: int) -> int | None:
    """Return the number of rows that the values of an input may select; None if they select none."""
    counts = (_rows_selected(step, tensor) for step, tensor in readers(graph, number))
    return min((count for count in counts if count is not None), default=None)


def is_mask(graph: Graph, number: int) -> bool:
    """Return whether every step that reads an input takes its values as a mask, or reads its shape alone.

    A sum of masks is one if a comparison reads it, as in a + b > 1, and an additive mask if a softmax does.
    """
    kinds = list(_mask_readers(graph, number))
    return "other" not in kinds and ("mask" in kinds or "count" not in kinds)


def _mask_readers(graph: Graph, number: int) -> Iterator[str]:
    """Yield how each step reads an input, as `_kind` does, through steps that combine it with other masks.

    On the way the input is a "mask"; part of a "sum", of masks or of numbers; or part of a "signal".
    """
    pending = [(number, "mask")]
    seen = set(pending)
    while pending:
        tensor, state = pending.pop()
        for step in graph.consumers(tensor):
            after = _state_after(graph, step, tensor, state)
            if after is None:
                yield _kind_of_part(step, tensor, state)
                continue
            new = [(t, after) for t in step.outputs if (t, after) not in seen]
            seen.update(new)
            pending += new


def _state_after(graph: Graph, step: Step, tensor: int, state: str) -> str | None:
    """Return what an input is part of after a step, as in `_mask_readers`; None if the walk ends there."""
    if _is_boolean(step):
        return None
    if step.kind in _BOUNDING and state == "sum":
        return "mask"
    if _passes_on(step, tensor) or step.kind in _BITWISE | _BOUNDING:
        return state
    if step.kind not in _ARITHMETIC or (state == "mask" and step.kind in _WEIGHTING):
        return None
    before = union(graph.ancestors.get(t, 0) for t in step.inputs)
    has_weights = any(before >> s.number & 1 for s in graph.steps if s.is_weighted)
    return "signal" if state == "signal" or has_weights else "sum"


def _kind_of_part(step: Step, tensor: int, state: str) -> str:
    """Return how a step reads what an input is part of."""
    kind = _kind(step, tensor)
    if kind == "mask" and state == "signal" and not _is_softmax(step):
        return "other"
    # A product of sums weighs nothing.
    return "other" if state == "sum" and step.kind in CONTRACTIONS else kind


def readers(graph: Graph, number: int) -> Iterator[tuple[Step, int]]:
    """Yield the steps that read the values of an input, through steps that pass them on.

    Each step comes with the number of the tensor that it reads.
    """
    tensors, seen = [number], {number}
    while tensors:
        tensor = tensors.pop()
        for step in graph.consumers(tensor):
            if _passes_on(step, tensor):
                new = [t for t in step.outputs if t not in seen]
                seen.update(new)
                tensors += new
            else:
                yield step, tensor


def _passes_on(step: Step, tensor: int) -> bool:
    if step.kind == "Where":
        return argument_names(step, tensor) != {"condition"}
    if step.kind in ("Take", "TakeAlongAxis"):
        return argument_names(step, tensor) == {"x"}
    return step.kind in _PASSING


def _kind(step: Step, tensor: int) -> str:
    """Return how a step reads a tensor: as a "mask", a "count", by its "shape", or as something "other"."""
    if step.kind in SHAPE_ONLY:
        return "shape"
    if step.kind in _COUNTING:
        return "count"
    if step.kind in _WEIGHTING or (step.kind in CONTRACTIONS and not step.is_weighted):
        return "mask"
    names = argument_names(step, tensor)
    if names and all("mask" in name or name == "condition" for name in names):
        return "mask"
    if _is_softmax(step) or _is_boolean(step):
        return "mask"
    return "other"


def _is_softmax(step: Step) -> bool:
    return step.kind == "Softmax" or (step.activation is not None and step.activation.name == "softmax")


def _is_boolean(step: Step) -> bool:
    """Return whether a step returns truth values: a comparison, a logical operation, a cast."""
    results = [t for t in keras.tree.flatten(step.call.outputs) if isinstance(t, keras.KerasTensor)]
    return bool(results) and all(keras.backend.standardize_dtype(t.dtype) == "bool" for t in results)


def argument_names(step: Step, tensor: int) -> set[str]:
    """Return the names of the arguments by which a step receives a tensor."""
    parameters = list(inspect.signature(step.operation.call).parameters.values())
    names = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_POSITIONAL]
    # An operation may take any number of arguments in one parameter.
    names += ["" for _ in step.call.args]

    def named(name: str, value: Any) -> Any:
        return keras.tree.map_structure(lambda _: name, value)

    args = tuple(named(name, value) for name, value in zip(names, step.call.args, strict=False))
    kwargs = {name: named(name, value) for name, value in step.call.kwargs.items()}
    flat = zip(step.call.arguments, keras.tree.flatten((args, kwargs)), strict=True)
    symbolic = [name for value, name in flat if isinstance(value, keras.KerasTensor)]
    return {name for name, number in zip(symbolic, step.inputs, strict=True) if number == tensor}


def _rows_selected(step: Step, tensor: int) -> int | None:
    """Return the number of rows among which a step selects by the values of a tensor; None if it does not."""
    layer = step.operation
    if isinstance(layer, keras.layers.Embedding):
        return int(layer.input_dim)
    if isinstance(layer, keras.layers.CategoryEncoding):
        return int(layer.num_tokens)
    if step.kind == "OneHot":
        return int(layer.num_classes)
    if step.kind in ("Take", "TakeAlongAxis") and argument_names(step, tensor) == {"indices"}:
        table = step.call.arguments[0]
        shape, axis = tuple(table.shape), getattr(layer, "axis", None) or 0
        return shape[axis] if shape else None
    return None
