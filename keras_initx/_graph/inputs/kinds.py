"""Find out what the integers of a model input are: rows of a look-up table, a mask, or something unknown."""

import inspect
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._graph.classify import CONTRACTIONS
from keras_initx._graph.records import SHAPE_ONLY, Graph, Step

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
# Operations that read integers as weights of 0 and 1.
_WEIGHTING = frozenset({"Multiply", "Subtract", "Masking", "Softmax", "DotProductAttention"})
# Operations that add up masks and other integers alike.
_COUNTING = frozenset({"Sum", "Cumsum", "Prod", "CountNonzero"})


def table_rows(graph: Graph, number: int) -> int | None:
    """Return the number of rows that the values of an input may select; None if they select none."""
    counts = (_rows_selected(step, tensor) for step, tensor in readers(graph, number))
    return min((count for count in counts if count is not None), default=None)


def is_mask(graph: Graph, number: int) -> bool:
    """Return whether every step that reads an input takes its values as a mask, or reads its shape alone."""
    kinds = [_kind(step, tensor) for step, tensor in readers(graph, number)]
    return "other" not in kinds and ("mask" in kinds or "count" not in kinds)


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
    results = [t for t in keras.tree.flatten(step.call.outputs) if isinstance(t, keras.KerasTensor)]
    # Comparisons and logical operations.
    if results and all(keras.backend.standardize_dtype(t.dtype) == "bool" for t in results):
        return "mask"
    return "other"


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
