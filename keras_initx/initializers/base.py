"""The base of all initializers here: bound to a layer, checked, seeded, cast."""

import copy
import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np

from keras_initx.errors import InitxError
from keras_initx.initializers.layer_info import NO_LAYER, LayerInfo, layer_info

PACKAGE = "keras_initx"


class LayerAware(keras.initializers.Initializer, ABC):
    """An initializer that knows the weight it draws: the layer's kind, its activation, the weight's path.

    Importing keras_initx wraps `keras.Layer.add_weight`, which hands every initializer with a `bound_to`
    method the layer. A subclass defines `_values(shape, dtype)`, and finds the layer in `self._layer_info`.

    Example:

    >>> from keras_initx import HeAuto
    >>> HeAuto().bound_to(keras.layers.Dense(4, activation="relu", name="hidden"), "kernel")
    <HeAuto() at hidden/kernel>
    """

    def __init__(self) -> None:
        self._layer_info: LayerInfo = NO_LAYER

    @property
    def is_bound(self) -> bool:
        """Whether this is a copy that `bound_to` made for one weight of one layer."""
        return self._layer_info is not NO_LAYER

    @abstractmethod
    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """A tensor of a shape without zeros, in float32 or float64."""

    def bound_to(self, layer: keras.Layer, weight: str | None) -> Self:
        """A copy that draws for the given weight of the given layer.

        The copy keeps what it read and not the layer: it can outlive it, and be pickled.
        """
        bound = copy.copy(self)
        bound._layer_info = layer_info(layer, weight)
        return bound

    # Without Keras's optional `layout`: its JAX backend then draws a sharded weight under jit, each device
    # its own part, where an initializer that takes the layout would first draw the whole on one device.
    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draws a tensor of the given shape, in float32 where dtype is narrower, then cast.

        Raises:
            InitxError: A shape that is not known, a dtype that is not a floating-point one, or what the
                subclass raises.
        """
        shape = self._checked(shape)
        dtype = keras.backend.standardize_dtype(dtype or keras.backend.floatx())
        if "float" not in dtype:
            raise InitxError("dtype", dtype, "a floating-point dtype", f"Weight: {self._layer_info.path!r}.")
        if 0 in shape:
            return keras.ops.zeros(shape, dtype)
        drawn_in = dtype if dtype in ("float32", "float64") else "float32"
        values = self._values(shape, drawn_in)
        return values if drawn_in == dtype else keras.ops.cast(values, dtype)

    def clone(self) -> Self:
        """Another one like it; of a bound one, bound to the same weight."""
        return copy.copy(self) if self.is_bound else super().clone()

    def _checked(self, shape: Any) -> tuple[int, ...]:
        sizes = tuple(shape) if isinstance(shape, Sequence) else None
        if sizes is None or not all(isinstance(n, int | np.integer) and n >= 0 for n in sizes):
            raise self._error(
                InitxError("shape", shape, "a tuple of whole numbers, none unknown or negative")
            )
        return tuple(int(n) for n in sizes)

    def __repr__(self) -> str:
        given = {k: v for k, v in self.get_config().items() if v not in (None, "truncated_normal")}
        where = f" at {self._layer_info.path}" if self._layer_info.path else ""
        return f"<{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in given.items())}){where}>"

    def _error(self, error: InitxError) -> InitxError:
        """The same error with the weight's path before its argument."""
        if not self._layer_info.path:
            return error
        named = f"{self._layer_info.path}: {error.argument}"
        return InitxError(named, error.received, error.allowed, error.remedy)


class Seeded(LayerAware):
    """A layer-aware initializer that draws at random.

    Args:
        seed: None (drawn anew for every weight from Python's `random`, so that
            `keras.utils.set_random_seed` makes it repeatable), an integer (the weight's path is folded
            in: one path, such as "encoder/dense_1/kernel", always gets the same values, and two paths
            never do; automatic names count up, so name the layers to repeat them, and give no two
            layers beside each other one name), or a `keras.random.SeedGenerator`.

    Raises:
        InitxError: A `seed` that is neither of the three.

    Example: equal seeds, equal paths, equal values.

    >>> from keras_initx import HeAuto
    >>> def draw(name):
    ...     layer = keras.layers.Dense(2, kernel_initializer=HeAuto(seed=1), name=name)
    ...     layer.build((None, 3))
    ...     return keras.ops.convert_to_numpy(layer.kernel)
    >>> bool((draw("a") == draw("a")).all()), bool((draw("a") == draw("b")).any())
    (True, False)
    """

    def __init__(self, seed: Any = None) -> None:
        super().__init__()
        if isinstance(seed, np.integer):
            seed = int(seed)
        if isinstance(seed, dict):
            seed = keras.saving.deserialize_keras_object(seed)
        if not isinstance(seed, int | None | keras.random.SeedGenerator) or isinstance(seed, bool):
            raise InitxError("seed", seed, "None, an integer or a keras.random.SeedGenerator")
        self._constructor_seed = seed
        self.seed = _default_seed() if seed is None else seed
        if isinstance(seed, int) and not 0 <= seed < 2**31:
            # No backend takes it; folded with a path it is in range anyway.
            self.seed = fold_in(seed, "")

    def bound_to(self, layer: keras.Layer, weight: str | None) -> Self:
        """A copy that draws for the given weight of the given layer, with a seed of its own."""
        bound = super().bound_to(layer, weight)
        if self._constructor_seed is None:
            # Not from the path: layer names count up, and set_random_seed would not repeat a model.
            bound.seed = _default_seed()
        elif isinstance(self._constructor_seed, int):
            # A layer may add several weights under one name, or under none; those of its sublayers have
            # other paths.
            path = bound._layer_info.path
            earlier = sum(v.path == path or weight is None for v in layer.weights)
            bound.seed = fold_in(self._constructor_seed, f"{path}:{earlier}" if earlier else path)
        return bound

    def get_config(self) -> dict[str, Any]:
        """The seed as it was given, so a None stays one."""
        seed = self._constructor_seed
        given = seed if isinstance(seed, int | None) else keras.saving.serialize_keras_object(seed)
        return {**super().get_config(), "seed": given}


def _default_seed() -> int:
    # The generator that Keras uses for its own default seeds, so set_random_seed holds for ours.
    return random.randint(1, 10**9)


def fold_in(seed: int, text: str) -> int:
    """Another seed for every text, the same in every process."""
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    # 31 bits, which every backend takes for a seed.
    return int.from_bytes(digest[:4]) >> 1
