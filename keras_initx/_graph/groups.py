"""Group the kernels of a model by purpose, so that each group can get its own initializer."""

from typing import Any

import keras

from keras_initx._graph.context import weight_contexts
from keras_initx._graph.trace import trace

GROUPS = ("stem", "hidden", "recurrent", "attention", "head")
_ATTENTION = frozenset({"query", "key", "value", "attention_output"})


def known_groups() -> list[str]:
    """Return the names of the groups that `kernel_groups` can assign.

    Example:

    >>> known_groups()
    ['stem', 'hidden', 'recurrent', 'attention', 'head']
    """
    return list(GROUPS)


def kernel_groups(model: keras.Model, data: Any = None) -> dict[str, str]:
    """Return the group of every kernel by the kernel's path, in the order of the graph.

    | group | kernels |
    | --- | --- |
    | `head` | no other kernel follows |
    | `attention` | queries, keys, values and output of an attention |
    | `recurrent` | kernels of recurrent layers |
    | `stem` | the first kernels after the inputs, or after the embeddings of the inputs |
    | `hidden` | all others |

    Look-up tables belong to no group, even if they are also the output projection. A shared kernel belongs to
    the group of its first use.

    Args:
        model: A built model.
        data: A batch of inputs, for a model that does not record the shapes of its inputs.

    Raises:
        InitxError: The model is not built, or it does not record the shapes of its inputs and `data` is None.

    Example:

    >>> hidden = [keras.layers.Dense(4, activation="relu", name=f"d{n}") for n in range(2)]
    >>> model = keras.Sequential([keras.Input((3,)), *hidden, keras.layers.Dense(2, name="out")])
    >>> list(kernel_groups(model).values())
    ['stem', 'hidden', 'head']
    """
    graph = trace(model, data)
    contexts = weight_contexts(graph)
    steps = [step for step in graph.steps if step.is_weighted and not step.is_lookup]
    # The weighted steps as bits, to compare them with the ancestors of a tensor.
    weighted = sum(1 << step.number for step in steps)
    tables = {id(v) for step in graph.steps if step.is_lookup for v in step.kernels}
    groups: dict[str, str] = {}
    for step in steps:
        roles = set(contexts[step.number].roles)
        if "head" in roles:
            group = "head"
        elif roles & _ATTENTION:
            group = "attention"
        elif step.is_recurrent:
            group = "recurrent"
        else:
            is_first = not any(graph.ancestors[tensor] & weighted for tensor in step.inputs)
            group = "stem" if is_first else "hidden"
        for variable in step.kernels:
            if id(variable) not in tables:
                groups.setdefault(variable.path, group)
    return groups
