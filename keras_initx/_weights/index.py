"""The layers of each weight of a model, and the names by which a pattern may match it."""

from collections.abc import Iterable, Sequence

import keras

from keras_initx.errors import InitxError
from keras_initx.initializers import Fans, layer_info, was_trainable


class WeightIndex:
    """The layers that contain each weight of a model.

    Args:
        layers: All layers of the model, outer layers before the layers inside them.
    """

    def __init__(self, layers: Iterable[keras.Layer]) -> None:
        self._around: dict[int, tuple[keras.Variable, list[keras.Layer]]] = {}
        for layer in layers:
            for variable in layer.weights:
                self._around.setdefault(id(variable), (variable, []))[1].append(layer)

    def has(self, variable: keras.Variable) -> bool:
        """Return whether a layer of the model contains the weight."""
        return id(variable) in self._around

    def of(self, variable: keras.Variable) -> tuple[keras.Layer, str]:
        """Return the layer that a weight belongs to, and its name there."""
        # The innermost layer is the last one listed.
        return self._around[id(variable)][1][-1], variable.name

    def is_frozen(self, variable: keras.Variable) -> bool:
        """Return whether a trainable weight was frozen: by itself, by LoRA, by its layer or one around it.

        Weights that were never trainable, such as moving statistics, are not frozen by themselves.
        """
        frozen = not variable.trainable and (was_trainable(variable) or self.is_adapted(variable))
        return frozen or self.is_in_frozen_layer(variable)

    def is_in_frozen_layer(self, variable: keras.Variable) -> bool:
        """Return whether the weight's layer, or one around it, is not trainable."""
        return not all(layer.trainable for layer in self._around[id(variable)][1])

    def is_adapted(self, variable: keras.Variable) -> bool:
        """Return whether the weight belongs to a layer with LoRA, or to a quantized one."""
        layer = self.of(variable)[0]
        return bool(getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None))

    def is_learned(self, variable: keras.Variable) -> bool:
        """Return whether the weight belongs to a layer that learned it from data by `adapt`.

        Such weights are not trainable. A layer may have others, which training learns.
        """
        return hasattr(self.of(variable)[0], "adapt") and not (variable.trainable or was_trainable(variable))

    def variables(self) -> list[keras.Variable]:
        """Return all weights, each once."""
        return [variable for variable, _ in self._around.values()]

    def names(self, variable: keras.Variable) -> list[str]:
        """Return the names that a pattern may match: the weight's path, and paths and names of its layers."""
        around = [name for layer in self._around[id(variable)][1] for name in (layer.path, layer.name)]
        return [variable.path, *dict.fromkeys(name for name in around if name)]

    def fans(self, variable: keras.Variable) -> Fans:
        """Return the fans of a weight in its layer."""
        return layer_info(*self.of(variable)).geometry.fans(tuple(variable.shape))


def adapted(layer: keras.Layer) -> InitxError:
    """Return the error for a layer to draw whose kernel LoRA or quantization has replaced."""
    path = layer.path or layer.name
    return InitxError(
        path,
        "LoRA or quantization",
        "a layer whose kernel is a floating-point variable",
        "Draw the model first, then enable LoRA or quantize it; or exclude the layer by skip=.",
        f"{path}: LoRA or quantization has replaced its kernel, so it cannot be drawn",
    )


def all_frozen(model: keras.Model, variables: Sequence[keras.Variable]) -> InitxError:
    """Return the error for a model in which every weight to draw is frozen."""
    more = f" and {len(variables) - 1} more" if len(variables) > 1 else ""
    return InitxError(
        "model",
        model.name,
        "a model with trainable weights",
        "Set layer.trainable = True, or choose other weights with only= and skip=.",
        f"Every weight to draw of `model` {model.name!r} is frozen: {variables[0].path}{more}",
    )
