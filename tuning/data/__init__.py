"""Training data: load it, validate it, split it."""

from .dataset import DATASETS, Dataset, from_arrays, load_csv, load_dataset, load_npz
from .validation import check_not_masked, first_gap

__all__ = [
    "DATASETS",
    "Dataset",
    "check_not_masked",
    "first_gap",
    "from_arrays",
    "load_csv",
    "load_dataset",
    "load_npz",
]
