"""Run several processes on one study."""

from .interrupts import interruptible
from .keras_tuner_chief import is_chief, wait_for_workers
from .workers import Workers, trials_each

__all__ = [
    "Workers",
    "interruptible",
    "is_chief",
    "trials_each",
    "wait_for_workers",
]
