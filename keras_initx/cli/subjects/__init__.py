"""What `keras-initx tune` trains: a dense network on a data set, a Python file's model, or a saved one."""

from .options import check_free, class_weights, objective_of
from .subject import Subject, check_used, of_dataset, of_saved_model, of_script

__all__ = [
    "Subject",
    "check_free",
    "check_used",
    "class_weights",
    "objective_of",
    "of_dataset",
    "of_saved_model",
    "of_script",
]
