"""The masks that tensors carry through a model, as `Layer.__call__` hands them on.

Keras keeps them beside the tensors and has no public function for it. On symbolic tensors, and where a
backend's tensors take attributes, it is the attribute `_keras_mask` (a test holds that its layers set it).
Where they take none, layers that Keras calls are told, and tell it.
"""

import inspect
from typing import Any

import keras

_ATTRIBUTE = "_keras_mask"
# In place of the number of a mask: the tensor carried one before, and a layer took it off.
TAKEN_OFF = -1
# Operations that return the tensor itself, with what it carries, where its type is the one that is asked for.
_SAME = frozenset({"Cast", "ConvertToTensor"})


class _Reader(keras.Layer):
    """Is told the mask of what it is called on."""

    def __init__(self) -> None:
        super().__init__(name="reader", autocast=False)
        self.supports_masking = True
        self.mask: Any = None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        self.mask = mask
        return inputs


class _Writer(keras.Layer):
    """Tells a mask of what it is called on."""

    def __init__(self, mask: Any) -> None:
        super().__init__(name="writer", autocast=False)
        self.supports_masking = True
        self._mask = [mask]

    def call(self, inputs: Any) -> Any:
        return inputs

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return self._mask[0]


def is_about_masks(layer: Any) -> bool:
    """Whether a layer is one of this module's, which do nothing else."""
    return isinstance(layer, _Reader | _Writer)


def carried_mask(tensor: Any) -> Any:
    """The mask that a tensor carries; None where it carries none."""
    if _takes_attributes(tensor) or not keras.ops.is_tensor(tensor):
        return getattr(tensor, _ATTRIBUTE, None)
    reader = _Reader()
    reader(tensor)
    return reader.mask


def carrying(tensor: Any, mask: Any) -> Any:
    """The tensor, or a copy of it, that carries this mask, or none."""
    if _takes_attributes(tensor):
        setattr(tensor, _ATTRIBUTE, mask)
        return tensor
    if carried_mask(tensor) is not None:
        # What Keras keeps is by the address of the tensor.
        tensor = keras.ops.copy(tensor)
    return tensor if mask is None else _Writer(mask)(tensor)


def _takes_attributes(tensor: Any) -> bool:
    return isinstance(tensor, keras.KerasTensor) or keras.backend.backend() in ("tensorflow", "torch")


def arriving(layer: keras.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The masks that `Layer.__call__` adds to a call that does not give them, by the names of arguments."""
    given = inspect.signature(layer.call).bind_partial(*args, **kwargs).arguments
    names = inspect.signature(layer.call).parameters
    of = {name: value for name, value in given.items() if _is_of_tensors(value)}
    found = {}
    for name, value in of.items():
        argument = "mask" if len(of) == 1 else f"{name}_mask"
        if argument in names and given.get(argument) is None:
            mask = keras.tree.map_structure(carried_mask, value)
            if any(m is not None for m in keras.tree.flatten(mask)):
                found[argument] = mask
    return found


def _is_of_tensors(value: Any) -> bool:
    flat = keras.tree.flatten(value)
    return bool(flat) and all(isinstance(v, keras.KerasTensor) or keras.ops.is_tensor(v) for v in flat)


def keep(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
    """Gives the symbolic result of an operation the mask of the tensor that it would return as it is."""
    given = next((t for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor)), None)
    if type(operation).__name__ not in _SAME or given is None or not isinstance(output, keras.KerasTensor):
        return
    if given.dtype == output.dtype and (mask := carried_mask(given)) is not None:
        carrying(output, mask)


def hand_on(layer: keras.Layer, inputs: Any, previous: Any, outputs: Any) -> None:
    """Gives symbolic outputs the masks that `Layer.__call__` gives them at its end.

    Args:
        layer: The layer that was called.
        inputs: Its first argument.
        previous: The mask of that, as it was before the call.
        outputs: What the layer returned.
    """
    flat = keras.tree.flatten(outputs)
    if not layer.supports_masking or all(carried_mask(t) is not None for t in flat):
        return
    masks = layer.compute_mask(inputs, previous)
    for tensor, mask in zip(flat, keras.tree.flatten(masks) if masks is not None else [], strict=False):
        if isinstance(tensor, keras.KerasTensor) and carried_mask(tensor) is None and mask is not None:
            carrying(tensor, mask)
