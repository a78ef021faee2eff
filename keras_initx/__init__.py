"""keras-initx: the right initial weights for every layer of a Keras 3 model.

Importing the package registers its initializers by name ("he_auto", "auto", "orthogonal_auto" ...) and
wraps `keras.Layer.add_weight`, so that an initializer knows the layer it draws for.
"""

from keras_initx._graph import kernel_groups, known_groups, role
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
    known_distributions,
)
from keras_initx.initializers import install as _install
from keras_initx.model_init import Plan, PlanRow, initialize, known_methods

_install()

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 (grouped by what a user does)
    # Strings: the initializers, and the gains that they apply.
    "AllZeros",
    "Auto",
    "BiasAuto",
    "HeAuto",
    "LayerAware",
    "LecunAuto",
    "OrthogonalAuto",
    "PriorBias",
    "Scale",
    "SmallNormal",
    "UnitUniform",
    "XavierAuto",
    "ActivationMoments",
    "activation_moments",
    "gain",
    "known_distributions",
    # Initialize: the weights of a whole model, and the functions that its methods and groups build on.
    "Plan",
    "PlanRow",
    "all_layers",
    "initialize",
    "kernel_groups",
    "known_groups",
    "known_methods",
    "known_names",
    "reinitialize",
    "role",
    # Diagnose: signals, gradients and what is wrong with them.
    "Comparison",
    "Finding",
    "HeadSignal",
    "LayerSignal",
    "Report",
    "SignalMonitor",
    "compare",
    "diagnose",
    "plot_signals",
    # Errors.
    "InitxError",
]
