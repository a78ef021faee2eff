"""Draw random matrices with orthonormal rows or columns, uniform (Haar) over all such matrices."""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops, random

# The number of Householder reflections applied as one matrix product (the fastest of 32 to 256).
_BLOCK = 192
# Up to this many entries a decomposition is cheaper, because it needs fewer operations.
_SMALL = 512 * 512


def haar(count: int, rows: int, columns: int, seed: Callable[[int], Any], dtype: str = "float32") -> Any:
    """Draw `count` independent matrices, each uniform over all with orthonormal columns (or rows, if wide).

    A large matrix is Q = H_1 H_2 ... H_n D. H_k is the Householder reflection of a Gaussian vector in the
    dimension that remains at step k. D contains the signs with which Q is the Q of a QR decomposition with
    a positive diagonal of R. Q has the same distribution as the Q of a Gaussian matrix, whose columns stay
    Gaussian under the earlier reflections. No decomposition is needed: the reflections are independent, so
    they are drawn together and applied in blocks.

    Args:
        count: The number of matrices.
        rows, columns: The shape of each matrix.
        seed: A function from the number of a draw (0, 1, ...) to a seed that `keras.random` accepts.
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
    """Return whether a matrix product is exact to float32 and costs no compilation."""
    if keras.backend.backend() == "jax":
        # JAX compiles every operation for every shape, which costs more than the blocks save.
        return False
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's products round to TF32 (four digits) on a GPU by default, to bfloat16 (three) on a TPU.
        return all(device.startswith("cpu") for device in keras.distribution.list_devices())
    return True


def _unit(x: Any) -> Any:
    # In one dimension a draw of exactly 0 has no direction.
    x = ops.where(x == 0, ops.ones_like(x), x)
    return x / ops.sqrt(ops.sum(ops.square(x), axis=1, keepdims=True))


def _by_decomposition(gaussian: Any) -> Any:
    q, r = ops.qr(gaussian)
    diagonal = ops.diagonal(r, axis1=1, axis2=2)
    return q * ops.expand_dims(_sign(diagonal), 1)


def _by_reflections(count: int, rows: int, columns: int, seed: Callable[[int], Any], dtype: str) -> Any:
    result = None
    # Start with the last block, so that each block applies only to the part that later blocks have filled.
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
    """Return vectors v of length sqrt(2), so that I - v v' reflects, and the signs of the diagonal of R.

    v has the shape (count, rows, columns), and column k is zero above row k.
    """
    x = ops.tril(random.normal((count, rows, columns), dtype=dtype, seed=seed))
    diagonal = ops.expand_dims(ops.diagonal(x, axis1=1, axis2=2), 1)
    sign = _sign(diagonal)
    # The last vector of a square matrix has one dimension and may be 0; its reflection must still exist.
    norm = ops.sqrt(ops.sum(ops.square(x), axis=1, keepdims=True))
    # ops.maximum with a number would round to float32 on torch.
    norm = ops.where(norm < 1e-6, ops.full_like(norm, 1e-6), norm)
    v = x + ops.eye(rows, columns, dtype=dtype) * (sign * norm)
    length = ops.sqrt(2 * norm * (norm + ops.abs(diagonal)))
    return v * (math.sqrt(2) / length), -sign


def _sign(x: Any) -> Any:
    return ops.where(x >= 0, ops.ones_like(x), -ops.ones_like(x))
