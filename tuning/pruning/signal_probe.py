"""What one batch shows of a model before it is trained: its loss, its outputs and every gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from .._variables import assign, every_variable, optimizers_of, values_of
from .layer_signal import LayerStart, capture_outputs, layer_starts

Batch = tuple[Any, Any]
_GRADIENTS = "gradients"


@dataclass(frozen=True)
class KernelSignal:
    """A trainable kernel on one batch.

    Attributes:
        path: The variable's path.
        weight: The root mean square of its values.
        gradient: That of its gradient; not finite where the gradient is not.
        units_alike: Whether it has several units, all with the same weights and the same gradient.
        inputs_alike: Whether it has several inputs, all with the same weights and the same gradient.
    """

    path: str
    weight: float
    gradient: float
    units_alike: bool = False
    inputs_alike: bool = False


@dataclass(frozen=True)
class Signal:
    """A model on one batch, before training.

    Attributes:
        loss: The loss.
        constant: The loss of the same model with all its kernels zero, which knows nothing of its inputs.
        spread: How much the outputs differ between samples: the standard deviation over the samples
            by the root mean square, of all outputs together.
        kernels: The trainable variables of two or more axes, in the order of the model.
        opens: Whether a trainable variable of fewer axes, which is no bias, is zero and has a gradient: the
            gate of a branch that is to open in training.
        half: Whether the model computes in float16, whose training skips steps with gradients that are not
            finite, and lowers their scale.
        layers: What each layer with a kernel shows, in the order in which they are called.
    """

    loss: float
    constant: float
    spread: float
    kernels: tuple[KernelSignal, ...]
    opens: bool = False
    half: bool = False
    layers: tuple[LayerStart, ...] = ()


class SignalProbe:
    """Measures models on one batch: compiled as training is.

    The gradients are those of the model's own training step, whatever it does: its optimizer is exchanged
    for one that keeps them and changes nothing. Variables, optimizers and compiled functions are put back.

    Args:
        sample: The batch (x, y).
    """

    def __init__(self, sample: Batch) -> None:
        self._sample = sample

    def __call__(self, model: keras.Model, beside: dict[str, Any] | None = None) -> Signal:
        """The signal of a built and compiled model.

        Args:
            model: The model.
            beside: A dictionary that lives as long as a model that many trials use: what was compiled for
                this is kept in it.

        Raises:
            ValueError: A further optimizer of the model's own that is not built: there is no telling how
                to put it back.
        """
        if any(o is not model.optimizer and not o.built for o in optimizers_of(model)):
            raise ValueError("it has a second optimizer, which is not built before it is used")
        beside = {} if beside is None else beside
        variables = every_variable(model)
        kept = values_of(variables)
        optimizer, function = model.optimizer, model.train_function
        if _GRADIENTS not in beside:
            beside[_GRADIENTS] = _Gradients(model), None
        recorder, compiled = beside[_GRADIENTS]
        trainable = list(model.trainable_variables)
        kernels = [v for v in trainable if len(v.shape) > 1]
        try:
            model.optimizer, model.train_function = recorder, compiled
            for kernel in kernels:
                kernel.assign(np.zeros(kernel.shape))
            constant = self._step(model)
            assign(variables, kept)
            recorder.clear()
            loss = self._step(model)
            beside[_GRADIENTS] = recorder, model.train_function
            gradients = dict(zip(map(id, trainable), map(_array, recorder.gradients), strict=True))
            # A second optimizer of the model's own has taken its steps.
            assign(variables, kept)
            # Batch normalization as in training: its moving statistics know nothing yet.
            with capture_outputs(model) as seen:
                outputs = [_array(t) for t in keras.tree.flatten(model(self._sample[0], training=True))]
        finally:
            model.optimizer, model.train_function = optimizer, function
            model.reset_metrics()
            assign(variables, kept)
        found = (_kernel(v.path, _array(v), gradients[id(v)]) for v in kernels)
        opens = any(_is_closed(v) and np.any(gradients[id(v)]) for v in trainable)
        layers = layer_starts(model, seen, gradients)
        return Signal(loss, constant, _spread(outputs), tuple(found), opens, _is_half(model), layers)

    def _step(self, model: keras.Model) -> float:
        model.reset_metrics()
        return float(model.train_on_batch(*self._sample, return_dict=True)["loss"])


class _Gradients(keras.optimizers.Optimizer):
    """An optimizer that keeps the gradients and changes nothing."""

    def __init__(self, model: keras.Model) -> None:
        # Gradients of half precision would round to zero.
        scale = 2.0**10 if _is_half(model) else None
        super().__init__(learning_rate=1.0, name="gradients", loss_scale_factor=scale)
        self.build(model.trainable_variables)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a place for each variable's gradient."""
        super().build(variables)
        self.gradients = [self.add_variable_from_reference(v, name="gradient") for v in variables]

    def clear(self) -> None:
        """Sets the gradients to zero."""
        for kept in self.gradients:
            kept.assign(np.zeros(kept.shape))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Adds the gradient up: of a look-up table it comes in pieces."""
        self.assign_add(self.gradients[self._get_variable_index(variable)], gradient)


def _is_half(model: keras.Model) -> bool:
    return keras.backend.standardize_dtype(model.compute_dtype) == "float16"


def _is_closed(variable: keras.Variable) -> bool:
    return len(variable.shape) < 2 and variable.name not in ("bias", "beta") and not np.any(_array(variable))


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")), dtype="float64")


def _kernel(path: str, weight: np.ndarray, gradient: np.ndarray) -> KernelSignal:
    alike = [all(_is_alike(a, axis) for a in (weight, gradient)) for axis in (-1, -2)]
    return KernelSignal(path, _rms(weight), _rms(gradient), *alike)


def _is_alike(values: np.ndarray, axis: int) -> bool:
    # Sums of equal numbers in another order differ in their last bits.
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
    """What each layer with a kernel shows before training, in the order in which they are called.

    Args:
        model: A built model; it is as it was afterwards.
        sample: The batch (x, y) to look at it with where there is no `signal`.
        signal: What `SignalProbe` measured of the model; None where nothing did: there are no gradients then.

    Returns:
        The layers; none where the model cannot be looked at: a board is not worth a trial.
    """
    if signal is not None:
        return signal.layers
    variables = every_variable(model)
    kept = values_of(variables)
    try:
        with capture_outputs(model) as outputs:
            model(sample[0], training=True)
        return layer_starts(model, outputs)
    except Exception:
        return ()
    finally:
        # Moving statistics and random states.
        assign(variables, kept)
