"""A user's own activation, evaluated on arrays outside of whatever surrounds the caller, and checked."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
import numpy as np

from keras_initx._theory.piecewise import Function
from keras_initx.errors import InitxError

_T = TypeVar("_T")

# Irregular and far out too, so that no two functions that anyone would write agree on all of them.
_PROBES = np.outer([3, 60], np.sin(np.arange(1, 101) ** 1.5)).ravel()
WAY_OUT = "Pass gain= (or activation=) to the initializer."


@dataclass(frozen=True)
class Probed:
    """A user's function with its values at some points, which tell it from every other.

    Not the function itself: it need not be hashable, and it may have changed since it was last asked.
    """

    values: bytes
    function: Function = field(compare=False, repr=False)


def probe(function: Callable[..., Any]) -> tuple[str, Probed]:
    """The name of a user's function, and the function as the moments take it.

    Raises:
        InitxError: It cannot be evaluated, or it is not elementwise.
    """
    name = str(getattr(function, "__name__", None) or type(function).__name__)
    if isinstance(function, type):
        raise InitxError("activation", name, "an instance of the class", f"Write {name}().")
    try:
        on_arrays = _on_arrays(function)
        _check_elementwise(on_arrays, name)
        values = on_arrays(_PROBES)
    except InitxError:
        raise
    except Exception as error:
        allowed = f"an elementwise function of a tensor (it raised {type(error).__name__}: {error})"
        raise InitxError("activation", name, allowed, WAY_OUT) from error
    return name, Probed(values.tobytes(), on_arrays)


def _on_arrays(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """`function` from float64 array to array, in the precision it computes in, outside of any trace."""
    call: Callable[..., Any] = function
    if isinstance(function, keras.layers.Layer):
        # A copy: building the user's own layer here would fix its weights to the shape of our grid. In
        # full precision, whatever the model's policy, and without moving on the seeds of later weights.
        state = random.getstate()
        call = type(function).from_config({**function.get_config(), "dtype": "float32"})
        random.setstate(state)

    def evaluate(z: np.ndarray, beside: float, last: bool, dtype: str) -> np.ndarray:
        # In rows of two, as layers want it: what acts on the row shows in what stands beside z.
        columns = [np.full_like(z, beside), z] if last else [z, np.full_like(z, beside)]
        rows = keras.ops.convert_to_tensor(np.stack(columns, axis=1).astype(dtype))
        out = np.asarray(keras.ops.convert_to_numpy(call(rows)))
        return out[:, 1 if last else 0] if out.shape == (len(z), 2) else out

    # JAX has no float64 unless its user asks for it, and warns on every request.
    dtypes = ["float32"] if keras.backend.backend() == "jax" else ["float64", "float32"]

    def on_arrays(z: np.ndarray, beside: float = 0.0, last: bool = False) -> np.ndarray:
        state = random.getstate()
        try:
            # A layer that is built by this draws the seeds of its weights.
            return eagerly(lambda: evaluate(z, beside, last, dtypes[0]))
        except Exception:
            # It may hold tensors of float32, which TensorFlow does not mix with float64.
            if len(dtypes) == 1:
                raise
            dtypes.pop(0)
            return on_arrays(z, beside, last)
        finally:
            random.setstate(state)

    return on_arrays


def eagerly(compute: Callable[[], _T]) -> _T:
    """`compute()` outside of every graph, trace and scope that surrounds the caller.

    Layers are built while a model is traced, where a tensor has no values. Those contexts belong to
    a thread in every Keras backend, so a fresh thread has none, and no backend has to be imported.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            # Far out a function may overflow: that is for the caller to judge.
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
    # In no order, so that what sorts or adds up along the row or the batch cannot leave them as they are.
    z = np.array([0.4, -1.9, 2.5, -0.7, 1.2, -2.5, 0.9, -0.1, 1.9, -1.3, 0.1, -0.4])
    whole = function(z)
    if whole.size == z.size and whole.shape != z.shape:
        allowed = "an elementwise function: this one halves the row, as a gate does"
        raise InitxError("activation", name, allowed, WAY_OUT)
    # The same points with fewer beside them along the batch, with another along the row, and at its end.
    parts = (function(z[3:8]), function(z, beside=1.7)[3:8], function(z, beside=-0.6, last=True)[3:8])
    if whole.shape != z.shape or not all(
        part.shape == (5,) and np.allclose(whole[3:8], part, rtol=1e-5, atol=1e-6, equal_nan=True)
        for part in parts
    ):
        raise InitxError("activation", name, "an elementwise function of one tensor", WAY_OUT)
