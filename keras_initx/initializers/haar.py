"""Random matrices with orthonormal rows or columns, uniform (Haar) over all of them."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, random

# So many Householder reflections are applied as one product of matrices (the fastest of 32 to 256).
_BLOCK = 192
# Up to here the decomposition is so cheap that the number of operations decides.
_SMALL = 512 * 512


def haar(count: int, rows: int, columns: int, seed: Callable[[int], Any], dtype: str = "float32") -> Any:
    """`count` independent matrices, each uniform over those with orthonormal columns (or rows, if wide).

    Large ones are Q = H_1 H_2 ... H_n D, where H_k is the Householder reflection of a Gaussian vector of
    the dimension that is left at step k, and D the signs that make Q the one of a QR decomposition with
    a positive diagonal of R. It has the distribution of the Q of a Gaussian matrix, whose columns stay
    Gaussian under the reflections before them, without the decomposition: the reflections are
    independent, so they are drawn at once and applied in blocks.

    Args:
        count: How many matrices.
        rows, columns: Their shape.
        seed: From the number of a draw (0, 1, ...) to what `keras.random` takes as a seed.
        dtype: "float32" or "float64".

    Returns:
        A tensor of shape (count, rows, columns).

    References: Stewart 1980, "The efficient generation of random orthogonal matrices", section 3;
    Mezzadri 2007 (arXiv math-ph/0609050), section 5, for the signs; Puglisi 1992 for the blocks.
    """
    if rows < columns:
        return ops.transpose(haar(count, columns, rows, seed, dtype), (0, 2, 1))
    if columns == 1:
        return _unit(random.normal((count, rows, 1), dtype=dtype, seed=seed(0)))
    if count * rows * columns <= _SMALL or not _reflections_pay():
        return _by_decomposition(random.normal((count, rows, columns), dtype=dtype, seed=seed(0)))
    return _by_reflections(count, rows, columns, seed, dtype)


@functools.cache
def _reflections_pay() -> bool:
    """Whether a product of matrices is exact to float32 and costs nothing but itself."""
    if keras.backend.backend() == "jax":
        # It compiles every operation for every shape, which costs more than the blocks save.
        return False
    if keras.backend.backend() == "tensorflow":
        # On a GPU its products round to TF32 by default, on a TPU to bfloat16: four digits and three.
        return all(device.startswith("cpu") for device in keras.distribution.list_devices())
    return True


def _unit(x: Any) -> Any:
    # A draw of exactly 0 in one dimension has no direction.
    x = ops.where(x == 0, ops.ones_like(x), x)
    return x / ops.sqrt(ops.sum(ops.square(x), axis=1, keepdims=True))


def _by_decomposition(gaussian: Any) -> Any:
    q, r = ops.qr(gaussian)
    diagonal = ops.diagonal(r, axis1=1, axis2=2)
    return q * ops.expand_dims(_sign(diagonal), 1)


def _by_reflections(count: int, rows: int, columns: int, seed: Callable[[int], Any], dtype: str) -> Any:
    result = None
    # Backwards, so that a block meets only the part that later blocks have filled.
    for start in reversed(range(0, columns, _BLOCK)):
        width = min(_BLOCK, columns - start)
        v, signs = _reflections(count, rows - start, width, seed(start // _BLOCK), dtype)
        identity = ops.eye(width, dtype=dtype)
        transposed = ops.transpose(v, (0, 2, 1))
        # H_1 ... H_b = I - V T V'; the inverse of T is the upper triangle of V'V, its diagonal halved.
        triangle = ops.triu(ops.matmul(transposed, v), 1) + identity
        first = ops.solve_triangular(triangle, transposed[:, :, :width])
        first = (ops.eye(rows - start, width, dtype=dtype) - ops.matmul(v, first)) * signs
        if result is None:
            result = first
            continue
        rest = ops.solve_triangular(triangle, ops.matmul(transposed[:, :, width:], result))
        rest = ops.pad(result, ((0, 0), (width, 0), (0, 0))) - ops.matmul(v, rest)
        result = ops.concatenate([first, rest], axis=2)
    return result


def _reflections(count: int, rows: int, columns: int, seed: Any, dtype: str) -> tuple[Any, Any]:
    """Vectors v of length sqrt(2), so that I - v v' reflects, and the signs of the diagonal of R.

    v has the shape (count, rows, columns), and column k is zero above row k.
    """
    x = ops.tril(random.normal((count, rows, columns), dtype=dtype, seed=seed))
    diagonal = ops.expand_dims(ops.diagonal(x, axis1=1, axis2=2), 1)
    sign = _sign(diagonal)
    # The last vector of a square matrix has one dimension; its reflection must not vanish with it.
    norm = ops.sqrt(ops.sum(ops.square(x), axis=1, keepdims=True))
    # Not ops.maximum: with a number it rounds to float32 on torch.
    norm = ops.where(norm < 1e-6, ops.full_like(norm, 1e-6), norm)
    v = x + ops.eye(rows, columns, dtype=dtype) * (sign * norm)
    length = ops.sqrt(2 * norm * (norm + ops.abs(diagonal)))
    return v * (math.sqrt(2) / length), -sign


def _sign(x: Any) -> Any:
    return ops.where(x >= 0, ops.ones_like(x), -ops.ones_like(x))
