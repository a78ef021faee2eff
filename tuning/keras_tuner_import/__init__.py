"""Read the results folder of a KerasTuner search into an Optuna study."""

from .folder import ORACLE_FILE, is_keras_tuner_folder, nested_folder_hint
from .to_study import read_keras_tuner

__all__ = [
    "ORACLE_FILE",
    "is_keras_tuner_folder",
    "nested_folder_hint",
    "read_keras_tuner",
]
