"""A KerasTuner search in which the initializer is a hyperparameter like any other."""

from .data.dataset import DATASETS, Dataset, from_arrays, load_csv, load_dataset, load_npz
from .keras_tuner_import.to_study import read_keras_tuner
from .report.page import write_report
from .search import search
from .search_result import SearchResult
from .space.dense_classifier import DenseClassifier
from .space.hypermodel import InitializerHyperModel
from .space.initializers import KernelSpace
from .space.ranges import Range
from .study.oracle import OptunaOracle
from .study.results import Sample, TrialResult
from .training.tuner import InitializerTuner

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
