"""keras-initx: right initial weights for every layer of a Keras 3 model.

Importing it registers the names of its initializers ("he_auto", "auto", "orthogonal_auto" ...), and
wraps `keras.Layer.add_weight`, so that an initializer knows the layer it draws for.
"""

from keras_initx._graph import kernel_groups, role
from keras_initx._theory import ActivationMoments, activation_moments, gain
from keras_initx._weights import all_layers, known_names, reinitialize
from keras_initx.diagnostics import (
    Comparison,
    Finding,
    HeadSignal,
    LayerSignal,
    Report,
    SignalMonitor,
    compare,
    diagnose,
    plot_signals,
)
from keras_initx.errors import InitxError
from keras_initx.initializers import (
    AllZeros,
    Auto,
    BiasAuto,
    HeAuto,
    LayerAware,
    LecunAuto,
    OrthogonalAuto,
    PriorBias,
    Scale,
    SmallNormal,
    UnitUniform,
    XavierAuto,
)
from keras_initx.initializers import install as _install
from keras_initx.model_init import Plan, PlanRow, initialize, known_methods

_install()

__version__ = "0.1.0"

__all__ = [
    "ActivationMoments",
    "AllZeros",
    "Auto",
    "BiasAuto",
    "Comparison",
    "Finding",
    "HeAuto",
    "HeadSignal",
    "InitxError",
    "LayerAware",
    "LayerSignal",
    "LecunAuto",
    "OrthogonalAuto",
    "Plan",
    "PlanRow",
    "PriorBias",
    "Report",
    "Scale",
    "SignalMonitor",
    "SmallNormal",
    "UnitUniform",
    "XavierAuto",
    "activation_moments",
    "all_layers",
    "compare",
    "diagnose",
    "gain",
    "initialize",
    "kernel_groups",
    "known_methods",
    "known_names",
    "plot_signals",
    "reinitialize",
    "role",
]
