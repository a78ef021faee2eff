"""The attention of a model: at which steps its weights are, and how they are had."""

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
class Heads:
    """A step with attention weights.

    Attributes:
        step: Its number.
        path: The path of the layer around it.
        shape: That of the weights: (samples, heads, queries, keys).
        how: How they are had: "fused", inside of the step from queries and keys; "layer", by asking the layer
            for them; "softmax", the step returns them.
    """

    step: int
    path: str
    shape: tuple[int, ...]
    how: str


def heads(graph: Graph) -> list[Heads]:
    """The steps with attention weights, in the order of the computation."""
    return list(_heads(graph))


def _heads(graph: Graph) -> Iterator[Heads]:
    for step in graph.steps:
        if step.kind in ATTENTIONS:
            query, key = keras.tree.flatten((step.call.args, step.call.kwargs))[:2]
            shape: Any = (query.shape[0], query.shape[2], query.shape[1], key.shape[1])
            yield Heads(step.number, step.path, tuple(shape), "fused")
        elif isinstance(layer := step.operation, keras.layers.Attention) and is_keras_call(layer):
            query, value = _listed(step)[:2]
            shape = (query.shape[0], 1, query.shape[1], value.shape[1])
            yield Heads(step.number, step.path, tuple(shape), "layer")
        elif step.kind == "Softmax" and len(step.shapes[0]) in (3, 4):
            readers = [c for t in step.outputs for c in graph.consumers(t)]
            # Dropout may lie between the weights and the values that they weigh.
            readers += [
                c for r in readers if "Dropout" in r.kind for t in r.outputs for c in graph.consumers(t)
            ]
            # A softmax over experts is of three axes too, and weighs by an einsum.
            products = ("Matmul",) if len(step.shapes[0]) == 3 else ("Einsum", "Matmul")
            if any(r.kind in products for r in readers):
                # Keras has a layer for it, inside of the attention.
                around = step.calls[-2][1] if step.is_layer and len(step.calls) > 1 else step.owner
                path = (around.path or around.name) if around is not None else step.path
                samples, *heads, queries, keys = (n or 1 for n in step.shapes[0])
                yield Heads(step.number, path, (samples, *(heads or [1]), queries, keys), "softmax")


def _listed(step: Step) -> list[Any]:
    """The tensors of the first argument of a layer that takes a list."""
    return list(keras.tree.flatten(first_argument(step.call.operation, step.call.args, step.call.kwargs)))


def attention_weights(how: str, step: Step, args: Any, kwargs: Any, outputs: Any) -> tuple[Any, Any]:
    """The weights of an attention, (samples, heads, queries, keys), and which keys are visible, or None."""
    if how == "fused":
        return _fused(step, args, kwargs)
    if how == "layer":
        return _of_layer(step, args, kwargs)
    weights = first_tensor(outputs)
    mask = kwargs.get("mask", args[1] if step.is_layer and len(args) > 1 else None)
    return _by_heads(weights), None if mask is None else _by_heads(mask)


def _by_heads(tensor: Any) -> Any:
    return tensor if len(tensor.shape) == 4 else tensor[:, None]


def _of_layer(step: Step, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Those that `keras.layers.Attention` returns if asked, as if it were one head."""
    _, weights = compute(step, args, {**kwargs, "return_attention_scores": True})
    tensors = first_argument(step.call.operation, args, kwargs)
    masks = kwargs.get("mask", args[1] if len(args) > 1 else None)
    query, value = [carried_mask(t) for t in tensors[:2]] if masks is None else masks[:2]
    visible = None if query is None else ops.cast(query, "bool")[:, None, :, None]
    if value is not None:
        visible = _both(visible, ops.cast(value, "bool")[:, None, None, :])
    if kwargs.get("use_causal_mask"):
        visible = _both(visible, _lower(*weights.shape[1:]))
    return weights[:, None], visible


def _fused(step: Step, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Those that a fused attention computes inside."""
    fused = step.operation
    names = ("query", "key", "value", "bias", "mask", "scale")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    query, key = (ops.cast(given[name], "float32") for name in ("query", "key"))
    key = ops.repeat(key, query.shape[2] // key.shape[2], axis=2)
    scale = given.get("scale") or 1 / math.sqrt(query.shape[-1])
    logits = ops.einsum("bqhd,bkhd->bhqk", query, key) * scale
    if (cap := getattr(fused, "attn_logits_soft_cap", None)) is not None:
        logits = cap * ops.tanh(logits / cap)
    if given.get("bias") is not None:
        logits = logits + ops.cast(given["bias"], "float32")
    visible = None if given.get("mask") is None else ops.cast(given["mask"], "bool")
    if getattr(fused, "is_causal", False):
        visible = _both(visible, _lower(query.shape[1], key.shape[1]))
    if visible is not None:
        logits = ops.where(visible, logits, -1e9)
    # Of one key Keras warns.
    weights = ops.softmax(logits, axis=-1) if logits.shape[-1] > 1 else ops.ones_like(logits)
    return weights, visible


def _both(one: Any, other: Any) -> Any:
    return other if one is None else ops.logical_and(one, other)


def _lower(queries: int, keys: int) -> Any:
    return ops.tril(ops.ones((queries, keys), dtype="bool"))[None, None]
