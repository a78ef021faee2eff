"""Train the seeds of a trial: tuner, model cache, checkpoints, devices."""

from .checkpoints import save_model
from .devices import devices_of
from .job import check_batch_sizes, check_validates
from .model_cache import architecture
from .record import missing_objective
from .tuner import InitializerTuner
from .tuner_arguments import check_flags, check_target, seeds_of

__all__ = [
    "InitializerTuner",
    "architecture",
    "check_batch_sizes",
    "check_flags",
    "check_target",
    "check_validates",
    "devices_of",
    "missing_objective",
    "save_model",
    "seeds_of",
]
