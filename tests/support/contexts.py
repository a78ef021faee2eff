"""Look up the contexts of weights by layer name."""

import keras

from keras_initx._graph import Graph, WeightContext, trace, weight_contexts


def contexts_by_name(graph: Graph) -> dict[str, WeightContext]:
    """Return the contexts of a graph by the last part of their path, the first of each."""
    contexts: dict[str, WeightContext] = {}
    for context in weight_contexts(graph).values():
        contexts.setdefault(context.path.rpartition("/")[2], context)
    return contexts


def contexts_of(model: keras.Model) -> dict[str, WeightContext]:
    """Return the contexts of a model by the last part of their path, the first of each."""
    return contexts_by_name(trace(model))
