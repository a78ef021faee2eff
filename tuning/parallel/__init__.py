"""Run several processes on one study."""

from .interrupts import interruptible
from .keras_tuner_chief import check_keeps, is_chief, wait_for_workers
from .parent import end_with_parent
from .workers import Workers, trials_each

__all__ = [
    "Workers",
    "check_keeps",
    "end_with_parent",
    "interruptible",
    "is_chief",
    "trials_each",
    "wait_for_workers",
]
