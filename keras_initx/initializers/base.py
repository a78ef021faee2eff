"""Base classes of every initializer: they bind to a layer, check the shape and dtype, seed and cast."""

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
    """Initializer that knows the weight it draws: the kind of its layer, its activation and its path.

    Importing keras_initx wraps `keras.Layer.add_weight`, which passes the layer to every initializer with a
    `bound_to` method. A subclass defines `_values(shape, dtype)` and reads the layer from `self._layer_info`.

    Example:

    >>> from keras_initx import HeAuto
    >>> HeAuto().bound_to(keras.layers.Dense(4, activation="relu", name="hidden"), "kernel")
    <HeAuto() at hidden/kernel>
    """

    def __init__(self) -> None:
        self._layer_info: LayerInfo = NO_LAYER

    @property
    def is_bound(self) -> bool:
        """Return whether `bound_to` made this initializer for one weight of one layer."""
        return self._layer_info is not NO_LAYER

    @abstractmethod
    def _values(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return the values of a weight; no size in `shape` is 0, and `dtype` is "float32" or "float64"."""

    def bound_to(self, layer: keras.Layer, weight: str | None) -> Self:
        """Return a copy that draws for the given weight of the given layer.

        The copy stores a `LayerInfo` instead of the layer, so it can be pickled and outlive the layer.
        """
        bound = copy.copy(self)
        bound._layer_info = layer_info(layer, weight)
        return bound

    # The signature omits Keras's optional `layout` on purpose: the JAX backend then draws a sharded weight
    # under jit, each device its own part. With `layout` one device would first draw the whole weight.
    def __call__(self, shape: Sequence[int], dtype: Any = None) -> Any:
        """Draw a tensor of the given shape; a dtype narrower than float32 is drawn in float32, then cast.

        Raises:
            InitxError: The shape is not fully known, the dtype is not a floating-point one, or the
                subclass raises it.
        """
        shape = self._checked(shape)
        dtype = keras.backend.standardize_dtype(dtype or keras.backend.floatx())
        if "float" not in dtype:
            raise self._error(InitxError("dtype", dtype, "a floating-point dtype"))
        if 0 in shape:
            return keras.ops.zeros(shape, dtype)
        draw_dtype = dtype if dtype in ("float32", "float64") else "float32"
        values = self._values(shape, draw_dtype)
        return values if draw_dtype == dtype else keras.ops.cast(values, dtype)

    def clone(self) -> Self:
        """Return an equal initializer, bound to the same weight if this one is bound."""
        return copy.copy(self) if self.is_bound else super().clone()

    def _checked(self, shape: Any) -> tuple[int, ...]:
        sizes = tuple(shape) if isinstance(shape, Sequence) else None
        if sizes is None or not all(isinstance(n, int | np.integer) and n >= 0 for n in sizes):
            raise self._error(InitxError("shape", shape, "a tuple of integers >= 0, without None"))
        return tuple(int(n) for n in sizes)

    def __repr__(self) -> str:
        arguments = {k: v for k, v in self.get_config().items() if v not in (None, "truncated_normal")}
        weight = f" at {self._layer_info.path}" if self._layer_info.path else ""
        return f"<{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in arguments.items())}){weight}>"

    def _error(self, error: InitxError) -> InitxError:
        """Return the error with the path of the weight in front."""
        path = self._layer_info.path
        if not path:
            return error
        argument, problem = f"{path}: {error.argument}", f"{path}: {error.problem}"
        return InitxError(argument, error.received, error.allowed, error.remedy, problem)


class Seeded(LayerAware):
    """Layer-aware initializer that draws random values.

    Args:
        seed: None, an integer, or a `keras.random.SeedGenerator`. None draws a new seed for every weight
            from Python's `random`, so `keras.utils.set_random_seed` makes it repeatable. An integer is
            combined with the path of the weight, such as "encoder/dense_1/kernel": equal paths get equal
            values, different paths get different values. Automatic layer names count up, so name the
            layers to repeat them, and give sibling layers different names.

    Raises:
        InitxError: `seed` is none of the three.

    Example: the same seed gives equal values on equal paths.

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
            # No backend accepts such a seed. The fold brings it into range, as a path would.
            self.seed = fold_in(seed, "")

    def bound_to(self, layer: keras.Layer, weight: str | None) -> Self:
        """Return a copy that draws for the given weight of the given layer, with its own seed."""
        bound = super().bound_to(layer, weight)
        if self._constructor_seed is None:
            # The path cannot serve as the seed here: automatic names count up, so that set_random_seed would
            # not repeat a model.
            bound.seed = _default_seed()
        elif isinstance(self._constructor_seed, int):
            # A layer may add several weights under one name, or without a name. The weights of its
            # sublayers have other paths.
            path = bound._layer_info.path
            earlier = sum(v.path == path or weight is None for v in layer.weights)
            bound.seed = fold_in(self._constructor_seed, f"{path}:{earlier}" if earlier else path)
        return bound

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; a seed of None stays None."""
        seed = self._constructor_seed
        if not isinstance(seed, int | None):
            seed = keras.saving.serialize_keras_object(seed)
        return {**super().get_config(), "seed": seed}


def _default_seed() -> int:
    # Keras draws its own default seeds from the same generator, so set_random_seed covers ours too.
    return random.randint(1, 10**9)


def fold_in(seed: int, text: str) -> int:
    """Return a seed that depends on `seed` and `text` only, and is the same in every process."""
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    # Every backend accepts a seed of 31 bits.
    return int.from_bytes(digest[:4]) >> 1
