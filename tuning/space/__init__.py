"""The search space: which hyperparameters a search varies, and their Optuna distributions."""

from .dense_network import (
    ACTIVATION,
    DEFAULT_ACTIVATIONS,
    DEFAULT_LEARNING_RATES,
    DenseNetwork,
)
from .fatal import WrongInEveryTrial
from .hypermodel import BATCH_SIZE, SCHEDULE, InitializerHyperModel
from .initializers import CANDIDATES, DEFAULT_INITIALIZERS, INITIALIZER, OWN, Initializers, KernelSpace
from .ranges import Numbers, Range
from .search_space import SearchSpace
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
    space_from,
)
from .user_model import build_on

__all__ = [
    "ACTIVATION",
    "BATCH_SIZE",
    "CANDIDATES",
    "DEFAULT_ACTIVATIONS",
    "DEFAULT_INITIALIZERS",
    "DEFAULT_LEARNING_RATES",
    "INITIALIZER",
    "OWN",
    "SCHEDULE",
    "DenseNetwork",
    "InitializerHyperModel",
    "Initializers",
    "KernelSpace",
    "Numbers",
    "Parameter",
    "Range",
    "SearchSpace",
    "WrongInEveryTrial",
    "allows",
    "build_on",
    "check_known",
    "count_points",
    "filled",
    "grid_of",
    "grid_size",
    "parameters_of",
    "range_of",
    "space_from",
]
