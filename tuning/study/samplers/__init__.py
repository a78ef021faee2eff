"""How a search chooses values: Optuna's samplers by name, KerasTuner's oracles, and no repetitions."""

from .by_name import SAMPLERS, check_sampler, make_sampler
from .keras_tuner_oracle import OracleSampler, check_oracle
from .without_repeats import GivenValues, WithoutRepeats

__all__ = [
    "SAMPLERS",
    "GivenValues",
    "OracleSampler",
    "WithoutRepeats",
    "check_oracle",
    "check_sampler",
    "make_sampler",
]
