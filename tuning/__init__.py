"""A KerasTuner search in which the initializer is a hyperparameter like any other."""

from .data import DATASETS, Dataset, from_arrays, load_csv, load_dataset, load_npz
from .keras_tuner_import import read_keras_tuner
from .report import write_report
from .search import search
from .search_result import SearchResult
from .space import DenseClassifier, InitializerHyperModel, KernelSpace, Range
from .study import OptunaOracle, Sample, TrialResult
from .training import InitializerTuner

__all__ = [
    "DATASETS",
    "Dataset",
    "DenseClassifier",
    "InitializerHyperModel",
    "InitializerTuner",
    "KernelSpace",
    "OptunaOracle",
    "Range",
    "Sample",
    "SearchResult",
    "TrialResult",
    "from_arrays",
    "load_csv",
    "load_dataset",
    "load_npz",
    "read_keras_tuner",
    "search",
    "write_report",
]
