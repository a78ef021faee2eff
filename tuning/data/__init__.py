"""Training data: load it, validate it, split it; the arguments of `fit` and batches of them."""

from .array_checks import check_data, checked_test
from .batches import Batch, has_own_step, is_arrays, row_count
from .columns import model_rows
from .dataset import DATASETS, Dataset, from_arrays, load_dataset, load_npz
from .fit_arguments import FitArguments, copied_callbacks, first_inputs
from .fit_limits import check_limits
from .load_table import load_table

__all__ = [
    "DATASETS",
    "Batch",
    "Dataset",
    "FitArguments",
    "check_data",
    "check_limits",
    "checked_test",
    "copied_callbacks",
    "first_inputs",
    "from_arrays",
    "has_own_step",
    "is_arrays",
    "load_dataset",
    "load_npz",
    "load_table",
    "model_rows",
    "row_count",
]
