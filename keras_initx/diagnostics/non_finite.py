"""Find where NaN or infinite values come from: a weight, an operation, the loss, or an infinite slope."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_initx._display import listed
from keras_initx._graph import Batch, Graph, Step, compute, replay
from keras_initx.diagnostics.records import Finding

_SMALLER = "Scale its input down"
_POSITIVE = "Keep its input above 0, for example with keras.ops.maximum(x, 1e-7)"
_ADVICE = {
    **dict.fromkeys(("Exp", "Exp2", "Expm1", "Sinh", "Cosh", "Square", "Power"), _SMALLER),
    **dict.fromkeys(("Log", "Log2", "Log10", "Log1p", "Sqrt", "Rsqrt"), _POSITIVE),
    **dict.fromkeys(("Divide", "TrueDivide", "Reciprocal"), "Keep its divisor away from 0"),
}
_NEW_OPTIMIZER = "Compile the model with a new optimizer"
# Operations whose slope is infinite where their input is 0.
_STEEP = frozenset({"Sqrt", "Norm", "Power", "Std"})


def non_finite_cause(model: keras.Model, graph: Graph, batch: Batch, loss: float) -> Finding | None:
    """Return a finding on the cause of the NaN or infinite values on a batch.

    It looks at the weights first, then at the steps of the model in their order, at the loss, and at last at
    operations with an infinite slope, through which a gradient becomes infinite. The model is computed once
    more, operation by operation. The caller restores its state.

    Args:
        model: The model.
        graph: Its graph, traced on the batch.
        batch: The batch, whose inputs are finite.
        loss: The loss on the batch.

    Returns:
        The finding; None if none of these is the cause.
    """
    # Masks of minus infinity, and observers of a minimum, are states that may be infinite.
    if weights := [v for v in model.variables if has_nan(v) or (v.trainable and not _is_finite(v))]:
        return _in_weights(weights, non_finite_state(model))
    steep: list[Finding] = []
    broken: list[Finding] = []

    def step(step: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs, outputs = _floats((args, kwargs)), compute(step, args, kwargs)
        if not broken and inputs and not all(map(_is_finite, results := _floats(outputs))):
            broken.append(_in_step(step, inputs, results))
        elif step.kind in _STEEP and inputs and not np.all(inputs[0]):
            text = f"the slope of {step.kind} at 0 is infinite, and some of its inputs are 0. {_POSITIVE}."
            steep.append(_finding(step.path, text))
        return outputs

    results = replay(graph, batch.x, step)
    if broken:
        return broken[0]
    if batch.y is not None and not np.isfinite(loss):
        outputs, targets = _range(_floats(results)), _range(_floats(batch.y, any_type=True))
        text = (
            f"the loss is {loss:g}, although the outputs are finite ({outputs}); the targets are {targets}. "
            "Check that the loss takes such outputs and targets."
        )
        return Finding("non-finite", "", text)
    # Backward, the last operation comes first.
    return steep[-1] if steep else None


def non_finite_state(model: keras.Model) -> list[keras.Variable]:
    """Return the variables of the model's optimizer with NaN or infinite entries, such as Adam's moments."""
    optimizer = getattr(model, "optimizer", None)
    return [v for v in getattr(optimizer, "variables", ()) if not _is_finite(v)]


def state_finding(state: list[keras.Variable]) -> Finding:
    """Return the finding on an optimizer whose next step would make every weight NaN."""
    names = listed([f"`{v.path}`" for v in state])
    text = (
        f"the optimizer's state has NaN or infinite entries ({names}), as after a training that diverged, so "
        f"the next step would make the weights NaN. {_NEW_OPTIMIZER}."
    )
    return Finding("non-finite", "", text)


def _in_weights(weights: list[keras.Variable], state: list[keras.Variable]) -> Finding:
    names = listed([f"`{v.path}`" for v in weights])
    verb = "has" if len(weights) == 1 else "have"
    text = (
        f"{names} {verb} NaN or infinite entries, as after a training that diverged. Draw the weights "
        "again with keras_initx.reinitialize(model), and train at a smaller learning rate."
    )
    if state:
        text += f" The optimizer's state is not finite either. {_NEW_OPTIMIZER}."
    return Finding("non-finite", weights[0].path, text)


def _in_step(step: Step, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> Finding:
    share = 1 - np.mean(np.isfinite(np.concatenate([o.ravel() for o in outputs])))
    advice = _ADVICE.get(step.kind, "Check its inputs and its weights")
    if step.kind == "Power" and np.any(
        (np.isnan(outputs[0]) & (inputs[0] < 0)) | (np.isinf(outputs[0]) & (inputs[0] == 0))
    ):
        # A root of a negative number, however small, or a negative power of 0.
        advice = _POSITIVE
    # Of x / y the divisor is to blame, of other operations the first input.
    source = inputs[-1:] if "ivide" in step.kind else inputs[:1]
    figures = f"{step.kind} of values {_range(source)} returns {100 * share:.3g} % NaN or infinite values"
    text = f"{figures}. {advice}."
    return _finding(step.path, text)


def _finding(path: str, text: str) -> Finding:
    return Finding("non-finite", path, f"`{path}`, non-finite: {text}" if path else f"non-finite: {text}")


def _range(values: Iterable[np.ndarray]) -> str:
    flat = np.concatenate([v.ravel() for v in values])
    return f"from {flat.min():.3g} to {flat.max():.3g}, std {flat.std():.2g}"


def _floats(values: Any, any_type: bool = False) -> list[np.ndarray]:
    """Return the float tensors among nested values, or all numbers, as float64 arrays."""
    tensors = [v for v in keras.tree.flatten(values) if ops.is_tensor(v) or isinstance(v, np.ndarray)]
    wanted = [v for v in tensors if any_type or "float" in keras.backend.standardize_dtype(v.dtype)]
    return [np.asarray(ops.convert_to_numpy(v), "float64") for v in wanted if np.prod(v.shape)]


def has_nan(variable: keras.Variable) -> bool:
    """Return whether a variable of floats has an entry that is NaN."""
    return "float" in keras.backend.standardize_dtype(variable.dtype) and bool(
        np.any(np.isnan(ops.convert_to_numpy(ops.cast(variable, "float32"))))
    )


def _is_finite(values: Any) -> bool:
    if isinstance(values, keras.Variable):
        if "float" not in keras.backend.standardize_dtype(values.dtype):
            return True
        values = ops.convert_to_numpy(ops.cast(values, "float32"))
    return bool(np.all(np.isfinite(values)))
