"""Train the seeds of a trial: tuner, model cache, checkpoints, devices."""

from .checkpoints import save_model
from .devices import Strategy, strategy_of
from .model_cache import architecture
from .tuner import InitializerTuner

__all__ = [
    "InitializerTuner",
    "Strategy",
    "architecture",
    "save_model",
    "strategy_of",
]
