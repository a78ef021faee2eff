"""What a model is called on: batches of data, or noise in the right sizes; and the losses of its outputs."""

from keras_initx._graph.inputs.batches import (
    Batch,
    batch_of,
    by_name,
    check_finite,
    inputs_of,
    labelled_batch,
)
from keras_initx._graph.inputs.losses import link_of_loss, output_losses, output_names, regression_loss
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
    "link_of_loss",
    "noise",
    "output_losses",
    "output_names",
    "regression_loss",
]
