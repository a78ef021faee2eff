"""Scale the weights of a model to their targets in one forward pass.

`calibrate` runs a `ScalingPass` on noise or data. The pass replays the traced model step by step and scales
each weight where its output can be measured: at the activation, at the gates of a recurrent cell, or by the
response of the layer.
"""

from keras_initx.model_init.calibration.forward_pass import ScalingPass
from keras_initx.model_init.calibration.passes import calibrate

__all__ = ["ScalingPass", "calibrate"]
