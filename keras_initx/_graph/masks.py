"""Read, set and propagate the masks that tensors carry through a model, as `Layer.__call__` does.

Keras stores a mask next to its tensor and has no public function to read it. Symbolic tensors, and tensors of
backends that allow attributes, store it in the attribute `_keras_mask`; a test checks that Keras's layers set
it. For other tensors, helper layers that Keras calls read and write the mask.
"""

import inspect
from typing import Any

import keras

_ATTRIBUTE = "_keras_mask"
# Replaces the number of a mask: the tensor carried a mask before, and a layer removed it.
REMOVED = -1
# Operations that return their argument itself, with its mask, if it has the requested dtype already.
_IDENTITIES = frozenset({"Cast", "ConvertToTensor"})


class _MaskReader(keras.Layer):
    """Helper layer that receives the mask of its input."""

    def __init__(self) -> None:
        super().__init__(name="reader", autocast=False)
        self.supports_masking = True
        self.mask: Any = None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        self.mask = mask
        return inputs


class _MaskWriter(keras.Layer):
    """Helper layer that gives its output a mask."""

    def __init__(self, mask: Any) -> None:
        super().__init__(name="writer", autocast=False)
        self.supports_masking = True
        self._mask = [mask]

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return self._mask[0]


def is_mask_helper(layer: Any) -> bool:
    """Return whether a layer is one of this module's helpers."""
    return isinstance(layer, _MaskReader | _MaskWriter)


def carried_mask(tensor: Any) -> Any:
    """Return the mask that a tensor carries; None if it carries none."""
    if _allows_attributes(tensor) or not keras.ops.is_tensor(tensor):
        return getattr(tensor, _ATTRIBUTE, None)
    reader = _MaskReader()
    reader(tensor)
    return reader.mask


def with_mask(tensor: Any, mask: Any) -> Any:
    """Return the tensor, or a copy of it, that carries this mask; None removes the mask."""
    if _allows_attributes(tensor):
        setattr(tensor, _ATTRIBUTE, mask)
        return tensor
    if carried_mask(tensor) is not None:
        # Keras stores the mask by the address of the tensor, so a copy carries none.
        tensor = keras.ops.copy(tensor)
    return tensor if mask is None else _MaskWriter(mask)(tensor)


def _allows_attributes(tensor: Any) -> bool:
    return isinstance(tensor, keras.KerasTensor) or keras.backend.backend() in ("tensorflow", "torch")


def implied_masks(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the masks that `Layer.__call__` adds to a call without explicit masks, by argument name."""
    parameters = inspect.signature(layer.call).parameters
    arguments = inspect.signature(layer.call).bind_partial(*args, **kwargs).arguments
    tensors = {name: value for name, value in arguments.items() if _holds_tensors(value)}
    masks = {}
    for name, value in tensors.items():
        argument = "mask" if len(tensors) == 1 else f"{name}_mask"
        if argument in parameters and arguments.get(argument) is None:
            mask = keras.tree.map_structure(carried_mask, value)
            if any(m is not None for m in keras.tree.flatten(mask)):
                masks[argument] = mask
    return masks


def _holds_tensors(value: Any) -> bool:
    flat = keras.tree.flatten(value)
    return bool(flat) and all(isinstance(v, keras.KerasTensor) or keras.ops.is_tensor(v) for v in flat)


def propagate_through_operation(
    operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> None:
    """Give the symbolic result of an operation the mask of the argument that it would return unchanged."""
    if type(operation).__name__ not in _IDENTITIES or not isinstance(output, keras.KerasTensor):
        return
    tensors = [v for v in keras.tree.flatten((args, kwargs)) if isinstance(v, keras.KerasTensor)]
    if tensors and tensors[0].dtype == output.dtype and (mask := carried_mask(tensors[0])) is not None:
        with_mask(output, mask)


def propagate_through_layer(layer: keras.Layer, inputs: Any, previous: Any, outputs: Any) -> None:
    """Give symbolic outputs the masks that `Layer.__call__` gives them at its end.

    Args:
        layer: The layer that was called.
        inputs: The first argument of the call.
        previous: The mask of `inputs` before the call.
        outputs: The result of the call.
    """
    flat = keras.tree.flatten(outputs)
    if not layer.supports_masking or all(carried_mask(t) is not None for t in flat):
        return
    masks = layer.compute_mask(inputs, previous)
    for tensor, mask in zip(flat, keras.tree.flatten(masks) if masks is not None else [], strict=False):
        if isinstance(tensor, keras.KerasTensor) and carried_mask(tensor) is None and mask is not None:
            with_mask(tensor, mask)
