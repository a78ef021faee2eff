"""The inputs of a model: batches of data, or noise in the sizes and of the kinds that the model takes."""

from keras_initx._graph.inputs.batches import (
    Batch,
    batch_of,
    by_name,
    check_finite,
    inputs_of,
    labelled_batch,
)
from keras_initx._graph.inputs.noise import noise
from keras_initx._graph.inputs.sizes import fitting_graph

__all__ = [
    "Batch",
    "batch_of",
    "by_name",
    "check_finite",
    "fitting_graph",
    "inputs_of",
    "labelled_batch",
    "noise",
]
