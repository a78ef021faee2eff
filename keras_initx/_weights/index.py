"""The layer that each weight of a model belongs to, and what a pattern may call it."""

from collections.abc import Iterable

import keras

from keras_initx.initializers import Fans, layer_info


class WeightIndex:
    """The layer that each weight belongs to."""

    def __init__(self, layers: Iterable[keras.Layer]) -> None:
        self._around: dict[int, tuple[keras.Variable, list[keras.Layer]]] = {}
        for layer in layers:
            for variable in layer.weights:
                self._around.setdefault(id(variable), (variable, []))[1].append(layer)

    def has(self, variable: keras.Variable) -> bool:
        """Whether a layer of the model has the weight."""
        return id(variable) in self._around

    def of(self, variable: keras.Variable) -> tuple[keras.Layer, str]:
        """The layer that a weight belongs to, and what it is called there."""
        # The innermost layer is the last to be listed that has the weight.
        return self._around[id(variable)][1][-1], variable.name

    def variables(self) -> list[keras.Variable]:
        """All weights, once each."""
        return [variable for variable, _ in self._around.values()]

    def names(self, variable: keras.Variable) -> list[str]:
        """What a pattern may call a weight: its path, the paths and names of all that it is part of."""
        around = [name for layer in self._around[id(variable)][1] for name in (layer.path, layer.name)]
        return [variable.path, *dict.fromkeys(name for name in around if name)]

    def fans(self, variable: keras.Variable) -> Fans:
        """The fans of a weight by the kind of its layer."""
        return layer_info(*self.of(variable)).geometry.fans(tuple(variable.shape))
