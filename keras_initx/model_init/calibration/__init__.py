"""Scale the weights of a model to their targets in one forward pass."""

from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.calibration.measure import Weight

__all__ = ["ScalingPass", "Weight"]
