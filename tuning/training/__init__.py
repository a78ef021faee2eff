"""Train the seeds of a trial: tuner, model cache, checkpoints, devices."""

from .checkpoints import save_model
from .devices import devices_of
from .model_cache import architecture
from .tuner import InitializerTuner
from .tuner_arguments import seeds_of

__all__ = [
    "InitializerTuner",
    "architecture",
    "devices_of",
    "save_model",
    "seeds_of",
]
