"""Roles that the author of a layer declares: the names of all roles, and `role`."""

from collections.abc import Callable
from typing import TypeVar

import keras

from keras_initx._graph.records import Graph, Step, union
from keras_initx._graph.roles.walks import last_weighted
from keras_initx.errors import InitxError, unknown_name

ROLES = {
    "residual_end": "its result is added to a signal that bypasses it",
    "gate": "its result is squashed and then multiplies a signal, as in a router of experts",
    "query": "its result is compared with the keys of an attention",
    "key": "its result is compared with the queries of an attention",
    "value": "an attention averages its result",
    "attention_output": "it reads the average that an attention computes",
    "embedding": "its rows are looked up",
    "additive_table": "it is added to the signal unchanged: positions, class tokens, types",
    "head": "no weight comes after it",
}
_Layer = TypeVar("_Layer", bound=type[keras.Layer])
_DECLARED: dict[type, str] = {}


def role(name: str) -> Callable[[_Layer], _Layer]:
    """Declare the role of your own layer class if the graph does not show it.

    If the class contains other layers, the role applies to the inner weights that compute its result.

    Args:
        name: residual_end, gate, query, key, value, attention_output, embedding, additive_table or head.

    Raises:
        InitxError: The name is unknown, or the decorated object is not a layer class.

    Example:

    >>> @role("gate")
    ... class Squeeze(keras.layers.Dense):
    ...     pass
    """
    if isinstance(name, type):
        remedy = 'Name the role above the class, for example @role("gate").'
        raise InitxError("role", name.__name__, f"one of {', '.join(ROLES)}", remedy)
    if name not in ROLES:
        raise unknown_name("role", name, ROLES)

    def declare(cls: _Layer) -> _Layer:
        if not isinstance(cls, type) or not issubclass(cls, keras.Layer):
            raise InitxError(
                "role",
                cls,
                "placed above a layer class",
                problem=f"`role` decorates a layer class, not {cls!r}",
            )
        _DECLARED[cls] = name
        return cls

    return declare


def declared_roles(graph: Graph) -> dict[int, tuple[tuple[str, int], ...]]:
    """Return the declared roles of weighted steps, each with the number of the layer call that it is from.

    The role of a layer that contains other layers goes to the last weighted steps of its result: those that
    carry the signal, not those that gate it. If the layer returns several tensors, steps that lead to another
    of these steps are excluded.
    """
    roles: dict[int, tuple[tuple[str, int], ...]] = {}
    done: set[tuple[int, str]] = set()
    for step in graph.steps:
        for call, layer in step.calls:
            for name in [name for cls, name in _DECLARED.items() if isinstance(layer, cls)]:
                if (call, name) in done:
                    continue
                done.add((call, name))
                ends = [step] if step.is_weighted else []
                if call in graph.opened:
                    ends = _ends_within(graph, call)
                for end in ends:
                    roles[end.number] = (*roles.get(end.number, ()), (name, call))
    return roles


def _ends_within(graph: Graph, call: int) -> list[Step]:
    """Return the last weighted steps of the result of a layer call."""
    last = [step for tensor in graph.opened[call] for step in last_weighted(graph, tensor)]
    ends = {s.number: s for s in last if any(number == call for number, _ in s.calls)}
    before = {n: union(graph.ancestors[tensor] for tensor in step.inputs) for n, step in ends.items()}
    return [step for n, step in ends.items() if not any(before[n] >> other & 1 for other in ends)]
