"""Search the initializer of a model like any other hyperparameter, with KerasTuner and Optuna.

Everything that the command line and the examples need is importable from here.
"""

from .data import DATASETS, Dataset, from_arrays, load_dataset, load_npz, load_table, model_rows
from .keras_tuner_import import read_keras_tuner
from .observers import Observer
from .parallel import Workers
from .report import (
    contains_study,
    cross_table,
    describe_lead_by,
    importances,
    score_format,
    write_report,
)
from .search import (
    ALL_SCHEMES,
    SCHEMES,
    Execution,
    Objective,
    Results,
    SearchResult,
    Stopping,
    accuracy_table,
    compare_schemes,
    has_search,
    objective,
    scheme_differences,
    scheme_table,
    scheme_verdict,
    schemes_in,
    search,
)
from .space import (
    ACTIVATION,
    DEFAULT_ACTIVATIONS,
    DEFAULT_INITIALIZERS,
    DEFAULT_LEARNING_RATES,
    INITIALIZER,
    DenseNetwork,
    InitializerHyperModel,
    KernelSpace,
    Range,
    SearchSpace,
)
from .storage import STUDY_FILE, Mode, redacted
from .study import OptunaOracle, Sample, TrialResult, status_of
from .training import InitializerTuner

__all__ = [
    "ACTIVATION",
    "ALL_SCHEMES",
    "DATASETS",
    "DEFAULT_ACTIVATIONS",
    "DEFAULT_INITIALIZERS",
    "DEFAULT_LEARNING_RATES",
    "INITIALIZER",
    "SCHEMES",
    "STUDY_FILE",
    "Dataset",
    "DenseNetwork",
    "Execution",
    "InitializerHyperModel",
    "InitializerTuner",
    "KernelSpace",
    "Mode",
    "Objective",
    "Observer",
    "OptunaOracle",
    "Range",
    "Results",
    "Sample",
    "SearchResult",
    "SearchSpace",
    "Stopping",
    "TrialResult",
    "Workers",
    "accuracy_table",
    "compare_schemes",
    "contains_study",
    "cross_table",
    "describe_lead_by",
    "from_arrays",
    "has_search",
    "importances",
    "load_dataset",
    "load_npz",
    "load_table",
    "model_rows",
    "objective",
    "read_keras_tuner",
    "redacted",
    "scheme_differences",
    "scheme_table",
    "scheme_verdict",
    "schemes_in",
    "score_format",
    "search",
    "status_of",
    "write_report",
]
