"""Find the attention weights of a model, and compute them during the pass."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_initx._graph import (
    ATTENTIONS,
    Graph,
    Step,
    carried_mask,
    compute,
    first_argument,
    first_tensor,
    is_keras_call,
)


@dataclass(frozen=True)
class AttentionStep:
    """A step that computes or applies attention weights.

    Attributes:
        number: The step's number in the graph.
        path: The path of the layer around it.
        shape: The shape of the weights: (samples, heads, queries, keys).
        source: How to get the weights. "fused": recompute them from queries and keys, as the step does
            inside; "layer": ask the layer to return them; "softmax": the step returns them.
    """

    number: int
    path: str
    shape: tuple[int, ...]
    source: str


def attention_steps(graph: Graph) -> list[AttentionStep]:
    """Return the steps with attention weights, in the order of computation."""
    return list(_attention_steps(graph))


def _attention_steps(graph: Graph) -> Iterator[AttentionStep]:
    for step in graph.steps:
        if step.kind in ATTENTIONS:
            query, key = keras.tree.flatten((step.call.args, step.call.kwargs))[:2]
            shape: Any = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
            yield AttentionStep(step.number, step.path, tuple(shape), "fused")
        elif isinstance(layer := step.operation, keras.layers.Attention) and is_keras_call(layer):
            query, value = _first_list(step)[:2]
            shape = (query.shape[0], 1, query.shape[1], value.shape[1])
            yield AttentionStep(step.number, step.path, tuple(shape), "layer")
        elif step.kind == "Softmax" and len(step.shapes[0]) in (3, 4):
            readers = [c for t in step.outputs for c in graph.consumers(t)]
            # Dropout may stand between the attention weights and their product with the values.
            readers += [
                c for r in readers if "Dropout" in r.kind for t in r.outputs for c in graph.consumers(t)
            ]
            # A softmax over experts has three axes too, but its weights go into an einsum.
            products = ("Matmul",) if len(step.shapes[0]) == 3 else ("Einsum", "Matmul")
            if any(r.kind in products for r in readers):
                # Keras's own attention applies a Softmax layer: name the attention around it.
                around = step.calls[-2][1] if step.is_layer and len(step.calls) > 1 else step.layer
                path = (around.path or around.name) if around is not None else step.path
                samples, *heads, queries, keys = (n or 1 for n in step.shapes[0])
                shape = (samples, *(heads or [1]), queries, keys)
                yield AttentionStep(step.number, path, shape, "softmax")


def _first_list(step: Step) -> list[Any]:
    """Return the tensors in the first argument of a layer that takes a list."""
    return list(keras.tree.flatten(first_argument(step.call.operation, step.call.args, step.call.kwargs)))


def attention_weights(source: str, step: Step, args: Any, kwargs: Any, outputs: Any) -> tuple[Any, Any]:
    """Return attention weights of shape (samples, heads, queries, keys), and the mask of visible keys.

    Args:
        source: See `AttentionStep`.
        step: The step.
        args, kwargs: The arguments that it is called with in this pass.
        outputs: The outputs that it returned.

    Returns:
        The weights and a mask, None if all keys are visible.
    """
    if source == "fused":
        return _fused_weights(step, args, kwargs)
    if source == "layer":
        return _layer_weights(step, args, kwargs)
    weights = first_tensor(outputs)
    mask = kwargs.get("mask", args[1] if step.is_layer and len(args) > 1 else None)
    return _with_heads(weights), None if mask is None else _with_heads(mask)


def _with_heads(tensor: Any) -> Any:
    return tensor if len(tensor.shape) == 4 else tensor[:, None]


def _layer_weights(step: Step, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the weights that `keras.layers.Attention` gives on request, as one head."""
    _, weights = compute(step, args, {**kwargs, "return_attention_scores": True})
    tensors = first_argument(step.call.operation, args, kwargs)
    masks = kwargs.get("mask", args[1] if len(args) > 1 else None)
    query, value = [carried_mask(t) for t in tensors[:2]] if masks is None else masks[:2]
    visible = None if query is None else ops.cast(query, "bool")[:, None, :, None]
    if value is not None:
        visible = _both(visible, ops.cast(value, "bool")[:, None, None, :])
    if kwargs.get("use_causal_mask"):
        visible = _both(visible, _causal(*weights.shape[1:]))
    return weights[:, None], visible


def _fused_weights(step: Step, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the weights that a fused attention computes inside."""
    fused = step.operation
    names = ("query", "key", "value", "bias", "mask", "scale")
    arguments = {**dict(zip(names, args, strict=False)), **kwargs}
    query, key = (ops.cast(arguments[name], "float32") for name in ("query", "key"))
    key = ops.repeat(key, query.shape[2] // key.shape[2], axis=2)
    scale = arguments.get("scale") or 1 / math.sqrt(query.shape[-1])
    logits = ops.einsum("bqhd,bkhd->bhqk", query, key) * scale
    if (cap := getattr(fused, "attn_logits_soft_cap", None)) is not None:
        logits = cap * ops.tanh(logits / cap)
    if arguments.get("bias") is not None:
        logits = logits + ops.cast(arguments["bias"], "float32")
    visible = None if arguments.get("mask") is None else ops.cast(arguments["mask"], "bool")
    if getattr(fused, "is_causal", False):
        visible = _both(visible, _causal(query.shape[1], key.shape[1]))
    if visible is not None:
        logits = ops.where(visible, logits, -1e9)
    # Keras warns about a softmax over a single key.
    weights = ops.softmax(logits, axis=-1) if logits.shape[-1] > 1 else ops.ones_like(logits)
    return weights, visible


def _both(one: Any, other: Any) -> Any:
    return other if one is None else ops.logical_and(one, other)


def _causal(queries: int, keys: int) -> Any:
    return ops.tril(ops.ones((queries, keys), dtype="bool"))[None, None]
