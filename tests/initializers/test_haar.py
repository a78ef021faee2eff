"""Check both ways of drawing uniform orthogonal matrices against SciPy."""

import keras
import numpy as np
import pytest
from scipy import stats

from keras_initx.initializers import haar as module
from keras_initx.initializers.haar import haar

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def draw(count, rows, columns, seed=0, dtype="float32"):
    values = haar(count, rows, columns, lambda block: 1000 * seed + block, dtype)
    return keras.ops.convert_to_numpy(values).astype("float64")


@pytest.fixture(params=["decomposition", "reflections", "reflections in small blocks"])
def way(request, monkeypatch):
    """Each way of drawing, regardless of the choice by size and backend."""
    if request.param == "decomposition":
        monkeypatch.setattr(module, "_SMALL", 10**9)
        return
    monkeypatch.setattr(module, "_reflections_pay", lambda: True)
    monkeypatch.setattr(module, "_SMALL", 0)
    if request.param == "reflections in small blocks":
        monkeypatch.setattr(module, "_BLOCK", 2)


@pytest.mark.parametrize(
    "shape", [(1, 5, 5), (3, 7, 2), (2, 4, 9), (1, 1, 1), (6, 1, 4), (1, 60, 1), (2, 33, 32)], ids=str
)
@pytest.mark.usefixtures("way")
def test_rows_or_columns_are_orthonormal(shape):
    count, rows, columns = shape
    q = draw(count, rows, columns)
    assert q.shape == shape
    gram = q @ q.swapaxes(1, 2) if rows < columns else q.swapaxes(1, 2) @ q
    np.testing.assert_allclose(gram, np.broadcast_to(np.eye(min(rows, columns)), gram.shape), atol=3e-6)


@pytest.mark.usefixtures("way")
def test_the_distribution_is_the_uniform_one():
    ours = draw(4000, 3, 3, seed=5)
    theirs = stats.ortho_group.rvs(3, size=4000, random_state=1)
    # With nine entries and the trace, this level gives one false alarm in 500 runs. The seed is fixed.
    level = 2e-4
    for i in range(3):
        for j in range(3):
            assert stats.ks_2samp(ours[:, i, j], theirs[:, i, j]).pvalue > level
    traces = [np.trace(q, axis1=1, axis2=2) for q in (ours, theirs)]
    assert stats.ks_2samp(*traces).pvalue > level
    # Both rotations and reflections.
    assert abs(np.mean(np.linalg.det(ours) > 0) - 0.5) < 0.05


@pytest.mark.usefixtures("way")
def test_a_tall_matrix_has_the_entries_of_a_sphere():
    # An entry of a uniform unit vector in n dimensions, squared, is Beta(1/2, (n - 1)/2).
    q = draw(3000, 6, 2, seed=2)
    for column in (0, 1):
        squares = q[:, 4, column] ** 2
        assert stats.kstest(squares, stats.beta(0.5, 2.5).cdf).pvalue > 2e-4


def test_a_large_matrix_of_several_blocks_is_orthogonal_to_rounding():
    for rows, columns in ((700, 700), (1500, 400)):
        q = draw(1, rows, columns)[0]
        error = np.max(np.abs(q.T @ q - np.eye(columns)))
        assert error < 5e-6


def test_double_precision():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless the user enables it")
    q = draw(1, 600, 600, dtype="float64")[0]
    # Keras multiplies float64 in float32 on torch.
    bound = 1e-6 if keras.backend.backend() == "torch" else 1e-13
    assert np.max(np.abs(q.T @ q - np.eye(600))) < bound


def test_other_seeds_other_matrices():
    assert not np.allclose(draw(1, 600, 600, seed=1), draw(1, 600, 600, seed=2))
    np.testing.assert_array_equal(draw(1, 600, 600, seed=1), draw(1, 600, 600, seed=1))


def test_products_that_are_not_exact_are_not_used(monkeypatch):
    choose = module._reflections_pay.__wrapped__
    for backend, devices, expected in (
        ("tensorflow", ["cpu:0"], True),
        ("tensorflow", ["gpu:0"], False),
        ("tensorflow", ["tpu:0", "tpu:1"], False),
        ("jax", ["cpu:0"], False),
        ("torch", [], True),
    ):
        monkeypatch.setattr(module.keras.backend, "backend", lambda backend=backend: backend)
        monkeypatch.setattr(module.keras.distribution, "list_devices", lambda devices=devices: devices)
        assert choose() is expected


def test_every_block_has_a_seed_of_its_own(monkeypatch):
    monkeypatch.setattr(module, "_reflections_pay", lambda: True)
    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(module, "_BLOCK", 3)
    asked = []
    haar(1, 9, 8, lambda block: asked.append(block) or block)
    assert sorted(asked) == [0, 1, 2]
