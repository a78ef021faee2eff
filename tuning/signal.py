"""What one batch shows of a model before it is trained: its loss, its outputs and every gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
from keras import ops

Batch = tuple[Any, Any]


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
    """

    loss: float
    constant: float
    spread: float
    kernels: tuple[KernelSignal, ...]


class SignalProbe:
    """Measures models on one batch: compiled as training is.

    The gradients are those of the model's own training step, whatever it does: its optimizer is exchanged
    for one that keeps them and changes nothing. Variables, optimizer and compiled functions are put back.

    Args:
        sample: The batch (x, y).
    """

    def __init__(self, sample: Batch) -> None:
        self._sample = sample
        # A model that is used for many trials is compiled once for this, too.
        self._made: WeakKeyDictionary[keras.Model, tuple[_Gradients, Any]] = WeakKeyDictionary()

    def __call__(self, model: keras.Model) -> Signal:
        """The signal of a built and compiled model."""
        kept = [np.array(ops.convert_to_numpy(v)) for v in model.variables]
        optimizer, function = model.optimizer, model.train_function
        recorder, compiled = self._made.get(model) or (_Gradients(model), None)
        try:
            model.optimizer, model.train_function = recorder, compiled
            kernels = [v for v in model.trainable_variables if len(v.shape) > 1]
            for kernel in kernels:
                kernel.assign(ops.zeros_like(ops.convert_to_tensor(kernel)))
            constant = self._step(model)
            _assign(model.variables, kept)
            recorder.clear()
            loss = self._step(model)
            self._made[model] = recorder, model.train_function
            gradients = {v.path: _array(g) for v, g in recorder.pairs()}
            # Batch normalization as in training: its moving statistics know nothing yet.
            outputs = [_array(t) for t in keras.tree.flatten(model(self._sample[0], training=True))]
        finally:
            model.optimizer, model.train_function = optimizer, function
            model.reset_metrics()
            _assign(model.variables, kept)
        found = (_kernel(v.path, _array(v), gradients[v.path]) for v in kernels)
        return Signal(loss, constant, _spread(outputs), tuple(found))

    def _step(self, model: keras.Model) -> float:
        model.reset_metrics()
        return float(model.train_on_batch(*self._sample, return_dict=True)["loss"])


class _Gradients(keras.optimizers.Optimizer):
    """An optimizer that keeps the gradients and changes nothing."""

    def __init__(self, model: keras.Model) -> None:
        # Gradients of half precision would round to zero.
        half = keras.backend.standardize_dtype(model.compute_dtype) == "float16"
        super().__init__(learning_rate=1.0, name="gradients", loss_scale_factor=2.0**10 if half else None)
        self.build(model.trainable_variables)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Makes a place for each variable's gradient."""
        super().build(variables)
        self._of = list(variables)
        self._kept = [self.add_variable_from_reference(v, name="gradient") for v in variables]

    def clear(self) -> None:
        """Sets the gradients to zero."""
        for kept in self._kept:
            kept.assign(ops.zeros_like(ops.convert_to_tensor(kept)))

    def pairs(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """Each variable with its gradient."""
        return list(zip(self._of, self._kept, strict=True))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Adds the gradient up: of a look-up table it comes in pieces."""
        self.assign_add(self._kept[self._get_variable_index(variable)], gradient)


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


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
