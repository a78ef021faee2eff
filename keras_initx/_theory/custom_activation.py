"""Evaluate a user's own activation on arrays, outside any trace, and check that it is elementwise."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
import numpy as np

from keras_initx._theory.piecewise import Function
from keras_initx.errors import InitxError, error_line

_T = TypeVar("_T")

# Irregular, and some far from 0, so that no two functions in practice agree on all of these points.
_POINTS = np.outer([3, 60], np.sin(np.arange(1, 101) ** 1.5)).ravel()
PASS_GAIN_OR_ACTIVATION = "Pass gain= (or activation=) to the initializer."


@dataclass(frozen=True)
class CustomFunction:
    """A user's function, identified by its values at fixed points.

    The values serve as the cache key because the function itself need not be hashable, and because it may
    have changed since the last call.

    Attributes:
        values: The values at the fixed points, as bytes.
        function: The function from float64 array to array.
    """

    values: bytes
    function: Function = field(compare=False, repr=False)


def evaluated(function: Callable[..., Any]) -> tuple[str, CustomFunction]:
    """Return the name of a user's function, and the function in the form that `gaussian_moments` takes.

    Raises:
        InitxError: The function cannot be evaluated, or it is not elementwise.
    """
    name = str(getattr(function, "__name__", None) or type(function).__name__)
    if isinstance(function, type):
        problem = f"`activation` {name!r} is a class"
        raise InitxError("activation", name, "an instance", f"Pass an instance: {name}().", problem)
    try:
        on_arrays = _on_arrays(function)
        _check_elementwise(on_arrays, name)
        values = on_arrays(_POINTS)
    except InitxError:
        raise
    except Exception as error:
        problem = f"`activation` {name!r} cannot be evaluated on a tensor ({error_line(error)})"
        allowed = "an elementwise function of a tensor"
        raise InitxError("activation", name, allowed, PASS_GAIN_OR_ACTIVATION, problem) from error
    return name, CustomFunction(values.tobytes(), on_arrays)


def _on_arrays(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """Return `function` as one from float64 array to array, in its own precision and outside any trace."""
    call: Callable[..., Any] = function
    if isinstance(function, keras.layers.Layer):
        # Evaluate a copy: building the user's own layer would fix its weights to the shape of our grid. The
        # copy computes in float32 whatever the model's dtype policy, and the random state is restored, so
        # that the seeds of later weights do not change.
        state = random.getstate()
        call = type(function).from_config({**function.get_config(), "dtype": "float32"})
        random.setstate(state)

    def evaluate(z: np.ndarray, neighbor: float, last: bool, dtype: str) -> np.ndarray:
        # Layers want rows. With rows of two, a function that acts on the row shows when z's neighbor changes.
        columns = [np.full_like(z, neighbor), z] if last else [z, np.full_like(z, neighbor)]
        rows = keras.ops.convert_to_tensor(np.stack(columns, axis=1).astype(dtype))
        out = np.asarray(keras.ops.convert_to_numpy(call(rows)))
        return out[:, 1 if last else 0] if out.shape == (len(z), 2) else out

    # JAX has no float64 unless the user enables it, and warns at every request.
    dtypes = ["float32"] if keras.backend.backend() == "jax" else ["float64", "float32"]

    def on_arrays(z: np.ndarray, neighbor: float = 0.0, last: bool = False) -> np.ndarray:
        # The call may build a layer, which draws the seeds of its weights from this state.
        state = random.getstate()
        try:
            return eagerly(lambda: evaluate(z, neighbor, last, dtypes[0]))
        except Exception:
            # The function may contain float32 tensors, which TensorFlow does not mix with float64.
            if len(dtypes) == 1:
                raise
            dtypes.pop(0)
            return on_arrays(z, neighbor, last)
        finally:
            random.setstate(state)

    return on_arrays


def eagerly(compute: Callable[[], _T]) -> _T:
    """Return `compute()`, run outside every graph, trace and scope of the caller.

    Layers are built while a model is traced, and tensors have no values there. In every Keras backend
    these contexts belong to a thread, so a new thread is free of them, and no backend must be imported.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            # A function may overflow far from 0. The caller decides whether that matters.
            with np.errstate(all="ignore"):
                results.append(compute())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="keras-initx-eager")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check_elementwise(function: Callable[..., np.ndarray], name: str) -> None:
    # Unordered points: a function that sorts or sums along the row or the batch must change some of them.
    z = np.array([0.4, -1.9, 2.5, -0.7, 1.2, -2.5, 0.9, -0.1, 1.9, -1.3, 0.1, -0.4])
    values = function(z)
    allowed = "an elementwise function of one tensor"
    if values.size == z.size and values.shape != z.shape:
        problem = f"`activation` {name!r} returns half as many columns, as a gated unit does"
        raise InitxError("activation", name, allowed, PASS_GAIN_OR_ACTIVATION, problem)
    # The same points in a smaller batch, with another neighbor in the row, and at the end of the row.
    variants = (
        function(z[3:8]),
        function(z, neighbor=1.7)[3:8],
        function(z, neighbor=-0.6, last=True)[3:8],
    )
    if values.shape != z.shape or not all(
        variant.shape == (5,) and np.allclose(values[3:8], variant, rtol=1e-5, atol=1e-6, equal_nan=True)
        for variant in variants
    ):
        raise InitxError("activation", name, allowed, PASS_GAIN_OR_ACTIVATION)
