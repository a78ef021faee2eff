"""Measure a model on one batch before training: its loss, its outputs and every gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from .._variables import assign, every_variable, optimizers_of, values_of
from ..data import Batch
from .layer_signal import LayerStart, capture_outputs, layer_starts

# The key of the compiled gradient step in a scratch dictionary.
_GRADIENTS = "gradients"


@dataclass(frozen=True)
class KernelSignal:
    """A trainable kernel on one batch.

    Attributes:
        path: The variable's path.
        weight: The root mean square of its values.
        gradient: The root mean square of its gradient; not finite if the gradient is not.
        units_equal: Whether it has several units, all with equal weights and equal gradients.
        inputs_equal: Whether it has several inputs, all with equal weights and equal gradients.
    """

    path: str
    weight: float
    gradient: float
    units_equal: bool = False
    inputs_equal: bool = False


@dataclass(frozen=True)
class Signal:
    """A model on one batch, before training.

    Attributes:
        loss: The loss.
        constant: The loss of the same model with all kernels at zero, which ignores its inputs.
        spread: How much the outputs differ between samples: the standard deviation over the samples
            divided by the root mean square, over all outputs together.
        kernels: The trainable variables of two or more axes, in the order of the model.
        opens: Whether a trainable variable of fewer axes that is not a bias is zero and has a gradient, such
            as the gate of a branch that opens during training.
        half: Whether the model computes in float16. Its training skips steps whose gradients are not
            finite, and lowers the loss scale.
        layers: The signal of each layer with a kernel, in the order of their calls.
    """

    loss: float
    constant: float
    spread: float
    kernels: tuple[KernelSignal, ...]
    opens: bool = False
    half: bool = False
    layers: tuple[LayerStart, ...] = ()


class SignalProbe:
    """A measurement of models on one batch, compiled as their training is.

    The gradients come from the model's own training step, whatever it does: its optimizer is replaced by one
    that records gradients and changes nothing. Variables, optimizers and compiled functions are restored.

    Args:
        sample: The batch.
    """

    def __init__(self, sample: Batch) -> None:
        self._sample = sample

    def __call__(self, model: keras.Model, scratch: dict[str, Any] | None = None) -> Signal:
        """Return the signal of a built and compiled model.

        Args:
            model: The model.
            scratch: A dictionary that lives as long as the model, if several trials share it. The compiled
                gradient step is kept in it.

        Raises:
            ValueError: The model has no optimizer, or a further one that is not built, whose state cannot be
                restored.
        """
        if model.optimizer is None:
            raise ValueError("it has no optimizer")
        if any(o is not model.optimizer and not o.built for o in optimizers_of(model)):
            raise ValueError("it has a second optimizer, which is not built before it is used")
        scratch = {} if scratch is None else scratch
        variables = every_variable(model)
        initial_values = values_of(variables)
        optimizer, train_function = model.optimizer, model.train_function
        if _GRADIENTS not in scratch:
            scratch[_GRADIENTS] = _GradientRecorder(model), None
        recorder, gradient_function = scratch[_GRADIENTS]
        trainable = list(model.trainable_variables)
        kernels = [v for v in trainable if len(v.shape) > 1]
        try:
            model.optimizer, model.train_function = recorder, gradient_function
            for kernel in kernels:
                kernel.assign(np.zeros(kernel.shape))
            constant = self._step(model)
            assign(variables, initial_values)
            recorder.clear()
            loss = self._step(model)
            scratch[_GRADIENTS] = recorder, model.train_function
            gradients = dict(zip(map(id, trainable), map(_array, recorder.gradients), strict=True))
            # A second optimizer of the model has changed variables in both steps.
            assign(variables, initial_values)
            # In training mode, because the moving statistics of batch normalization are not trained yet.
            with capture_outputs(model) as captured:
                outputs = [_array(t) for t in keras.tree.flatten(model(self._sample.x, training=True))]
        finally:
            model.optimizer, model.train_function = optimizer, train_function
            model.reset_metrics()
            assign(variables, initial_values)
        signals = tuple(_kernel_signal(v.path, _array(v), gradients[id(v)]) for v in kernels)
        opens = any(_is_closed(v) and np.any(gradients[id(v)]) for v in trainable)
        layers = layer_starts(model, captured, gradients)
        return Signal(loss, constant, _spread(outputs), signals, opens, _is_half(model), layers)

    def _step(self, model: keras.Model) -> float:
        model.reset_metrics()
        return self._sample.train(model)["loss"]


class _GradientRecorder(keras.optimizers.Optimizer):
    """An optimizer that records the gradients and changes nothing."""

    def __init__(self, model: keras.Model) -> None:
        # Unscaled, small gradients in half precision would round to zero.
        scale = 2.0**10 if _is_half(model) else None
        super().__init__(learning_rate=1.0, name="gradients", loss_scale_factor=scale)
        self.build(model.trainable_variables)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create a variable for each gradient."""
        super().build(variables)
        self.gradients = [self.add_variable_from_reference(v, name="gradient") for v in variables]

    def clear(self) -> None:
        """Set the gradients to zero."""
        for gradient in self.gradients:
            gradient.assign(np.zeros(gradient.shape))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Add the gradient: a look-up table receives its gradient in pieces."""
        self.assign_add(self.gradients[self._get_variable_index(variable)], gradient)


def _is_half(model: keras.Model) -> bool:
    return keras.backend.standardize_dtype(model.compute_dtype) == "float16"


def _is_closed(variable: keras.Variable) -> bool:
    return len(variable.shape) < 2 and variable.name not in ("bias", "beta") and not np.any(_array(variable))


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")), dtype="float64")


def _kernel_signal(path: str, weight: np.ndarray, gradient: np.ndarray) -> KernelSignal:
    units_equal, inputs_equal = (
        all(_are_equal(values, axis) for values in (weight, gradient)) for axis in (-1, -2)
    )
    return KernelSignal(path, _rms(weight), _rms(gradient), units_equal, inputs_equal)


def _are_equal(values: np.ndarray, axis: int) -> bool:
    # A tolerance, because sums of the same numbers in another order differ in their last bits.
    spread = np.max(np.ptp(values, axis=axis))
    return values.shape[axis] > 1 and bool(spread <= 1e-4 * np.max(np.abs(values)))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _spread(outputs: Sequence[np.ndarray]) -> float:
    flat = np.concatenate([o.reshape(len(o), -1) for o in outputs if o.ndim], axis=1)
    size = _rms(flat)
    with np.errstate(invalid="ignore"):
        return float(np.sqrt(np.mean(np.var(flat, axis=0)))) / size if size else 0.0


def layers_at_start(
    model: keras.Model, sample: Batch, signal: Signal | None = None
) -> tuple[LayerStart, ...]:
    """Return the signal of each layer with a kernel before training, in the order of their calls.

    Args:
        model: A built model. Its state is restored afterwards.
        sample: The batch to call the model on if there is no `signal`.
        signal: The measurement of a `SignalProbe`, or None; without it, gradients are missing.

    Returns:
        The layers. Empty if the model cannot be inspected: a missing chart must not fail a trial.
    """
    if signal is not None:
        return signal.layers
    variables = every_variable(model)
    initial_values = values_of(variables)
    try:
        with capture_outputs(model) as captured:
            model(sample.x, training=True)
        return layer_starts(model, captured)
    except Exception:
        return ()
    finally:
        # The call updates moving statistics and random states.
        assign(variables, initial_values)
