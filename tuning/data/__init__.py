"""Training data: load it, validate it, split it."""

from .dataset import DATASETS, Dataset, from_arrays, load_csv, load_dataset, load_npz
from .validation import first_gap

__all__ = [
    "DATASETS",
    "Dataset",
    "first_gap",
    "from_arrays",
    "load_csv",
    "load_dataset",
    "load_npz",
]
