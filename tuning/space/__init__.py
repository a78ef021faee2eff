"""The search space: which hyperparameters a search varies, and their Optuna distributions."""

from .dense_classifier import ACTIVATION, DEFAULT_ACTIVATIONS, DenseClassifier
from .hypermodel import DEFAULT_LEARNING_RATES, SCHEDULE, InitializerHyperModel
from .initializers import CANDIDATES, DEFAULT_INITIALIZERS, INITIALIZER, OWN, Initializers, KernelSpace
from .ranges import Numbers, Range
from .to_optuna import (
    Parameter,
    allows,
    check_known,
    count_points,
    filled,
    grid_of,
    grid_size,
    parameters_of,
    range_of,
)

__all__ = [
    "ACTIVATION",
    "CANDIDATES",
    "DEFAULT_ACTIVATIONS",
    "DEFAULT_INITIALIZERS",
    "DEFAULT_LEARNING_RATES",
    "INITIALIZER",
    "OWN",
    "SCHEDULE",
    "DenseClassifier",
    "InitializerHyperModel",
    "Initializers",
    "KernelSpace",
    "Numbers",
    "Parameter",
    "Range",
    "allows",
    "check_known",
    "count_points",
    "filled",
    "grid_of",
    "grid_size",
    "parameters_of",
    "range_of",
]
