"""Judge the start of the training: the first loss, the scale of the data, and the learning rate."""

from keras_initx.diagnostics.first_steps.best_constant import best_constant_loss
from keras_initx.diagnostics.first_steps.checks import check_first_steps
from keras_initx.diagnostics.first_steps.curvature import Rate, rate_of_sgd

__all__ = ["Rate", "best_constant_loss", "check_first_steps", "rate_of_sgd"]
