"""`initialize`: choose, draw and scale the initial weights of a whole model."""

from keras_initx.model_init.initialize import initialize, known_methods
from keras_initx.model_init.methods import METHODS
from keras_initx.model_init.plan import Plan, PlanRow
from keras_initx.model_init.tasks import statuses

__all__ = [
    "METHODS",
    "Plan",
    "PlanRow",
    "initialize",
    "known_methods",
    "statuses",
]
