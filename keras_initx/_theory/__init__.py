"""The mathematics: activations, their Gaussian moments and gains, mean-field theory, Deep Kernel Shaping.

In closed form or by quadrature, with NumPy and SciPy. Keras is used only to evaluate a user's own activation.
"""

from keras_initx._theory.activation import LINEAR, ROW_WISE, Activation, read_activation
from keras_initx._theory.dks import solve_dks
from keras_initx._theory.gains import activation_moments, gain
from keras_initx._theory.looks_linear import evenness, odd_part
from keras_initx._theory.mean_field import edge_variance, elementwise, gpn_shift, stability
from keras_initx._theory.moments import ActivationMoments
from keras_initx._theory.periodic import in_natural_units, kernel_gain, natural_std, period, siren_variance

__all__ = [
    "LINEAR",
    "ROW_WISE",
    "Activation",
    "ActivationMoments",
    "activation_moments",
    "edge_variance",
    "elementwise",
    "evenness",
    "gain",
    "gpn_shift",
    "in_natural_units",
    "kernel_gain",
    "natural_std",
    "odd_part",
    "period",
    "read_activation",
    "siren_variance",
    "solve_dks",
    "stability",
]
