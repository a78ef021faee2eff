"""Read the results folder of a KerasTuner search into an Optuna study."""

from .folder import ORACLE_FILE, found_inside, is_keras_tuner_folder
from .to_study import read_keras_tuner

__all__ = [
    "ORACLE_FILE",
    "found_inside",
    "is_keras_tuner_folder",
    "read_keras_tuner",
]
