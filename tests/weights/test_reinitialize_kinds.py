"""Recurrent kernels, look-up tables and biases, drawn by `reinitialize(weights=)`."""

import keras
import numpy as np
import pytest

from keras_initx import InitxError, reinitialize

pytestmark = pytest.mark.check


def tagger() -> keras.Model:
    layers = [keras.layers.Embedding(300, 40), keras.layers.LSTM(50), keras.layers.Dense(7)]
    return keras.Sequential([keras.Input((5,)), *layers])


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.asarray(keras.ops.convert_to_numpy(v)) for v in model.variables}


@pytest.mark.parametrize(
    ("kind", "count"), [("kernels", 2), ("recurrent_kernels", 1), ("embeddings", 1), ("biases", 2)]
)
def test_only_that_kind_is_drawn(kind: str, count: int) -> None:
    model = tagger()
    before = values(model)
    assert reinitialize(model, keras.initializers.Constant(3.0), weights=kind) == count
    changed = {path for path, value in values(model).items() if not np.array_equal(value, before[path])}
    assert len(changed) == count
    name = kind.removesuffix("s").replace("biase", "bias").replace("embedding", "embeddings")
    assert all(path.endswith("/" + name) for path in changed)
    assert all(np.all(values(model)[path] == 3) for path in changed)
    # A model that is built from the config draws the same; an LSTM sets the bias of its forget gate itself.
    again = values(keras.Sequential.from_config(model.get_config()))
    assert sum(np.median(value) == 3 for value in again.values()) == count


def test_a_table_follows_the_distribution() -> None:
    model = tagger()
    reinitialize(model, keras.initializers.RandomNormal(stddev=0.5), seed=1, weights="embeddings")
    table = model.layers[0].get_weights()[0]
    # The standard error of the standard deviation of n normal values is s / sqrt(2 n).
    assert np.std(table) == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2 * table.size))


def test_their_own_initializers_draw_them_again() -> None:
    model = tagger()
    before = values(model)
    assert reinitialize(model, None, seed=1, weights="recurrent_kernels") == 1
    after = values(model)
    changed = [path for path in before if not np.array_equal(before[path], after[path])]
    assert [path.split("/")[-1] for path in changed] == ["recurrent_kernel"]
    # The LSTM's own recurrent initializer is orthogonal.
    kernel = after[changed[0]].astype("float64")
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(50), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("kernel", r"^`weights` 'kernel' is not known\. Did you mean 'kernels'"),
        ("recurrent_kernels", "no layer"),
    ],
)
def test_what_cannot_be_drawn(kind: str, message: str) -> None:
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])
    with pytest.raises(InitxError, match=message):
        reinitialize(model, "zeros", weights=kind)
