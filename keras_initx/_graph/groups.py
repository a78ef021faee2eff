"""The kernels of a model by what they are there for, to treat each group in its own way."""

from typing import Any

import keras

from keras_initx._graph.context import weight_contexts
from keras_initx._graph.trace import trace

GROUPS = ("stem", "hidden", "recurrent", "attention", "head")
_ATTENTION = frozenset({"query", "key", "value", "attention_output"})


def kernel_groups(model: keras.Model, data: Any = None) -> dict[str, str]:
    """The group of every kernel, by the kernel's path, in the order of the graph.

    | group | kernels |
    | --- | --- |
    | `head` | no other kernel comes after them |
    | `attention` | queries, keys, values and output of an attention |
    | `recurrent` | of recurrent layers |
    | `stem` | the first that read the inputs, or what was looked up for them |
    | `hidden` | all others |

    Look-up tables are in no group. A shared kernel is in the group of its first use.

    Args:
        model: A built model.
        data: A batch of inputs, for a model that does not tell their shapes.

    Raises:
        InitxError: A model that is not built, or does not tell its inputs where `data` is None.

    Example:

    >>> hidden = [keras.layers.Dense(4, activation="relu", name=f"d{n}") for n in range(2)]
    >>> model = keras.Sequential([keras.Input((3,)), *hidden, keras.layers.Dense(2, name="out")])
    >>> list(kernel_groups(model).values())
    ['stem', 'hidden', 'head']
    """
    graph = trace(model, data)
    above = graph.ancestors
    weighted = [step for step in graph.steps if step.is_weighted and not step.is_lookup]
    before = sum(1 << step.number for step in weighted)
    found: dict[str, str] = {}
    where = weight_contexts(graph)
    for step in weighted:
        roles = set(where[step.number].roles)
        if "head" in roles:
            group = "head"
        elif roles & _ATTENTION:
            group = "attention"
        elif step.is_recurrent:
            group = "recurrent"
        else:
            first = not any(above[tensor] & before for tensor in step.inputs)
            group = "stem" if first else "hidden"
        for variable in step.kernels:
            found.setdefault(variable.path, group)
    return found
