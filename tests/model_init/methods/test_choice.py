import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx import initialize
from tests.support import attention
from tests.support.chains import follow

pytestmark = pytest.mark.check


@pytest.mark.parametrize("compare", attention.UNSCALED, ids=lambda compare: compare.__name__)
def test_scores_have_variance_1(compare):
    model = attention.model_of(compare)
    assert min(attention.score_stds(model)) > 0
    plan = keras_initx.initialize(model, seed=0)
    # The kernels are random, so the standard deviation of scores of width 32 varies by a tenth.
    assert attention.score_stds(model) == pytest.approx([1, 1], rel=0.25)
    queries = [row for row in plan.rows if "query" in row.roles]
    assert all("does not scale the scores" in row.reason for row in queries)


def test_the_attention_layer_of_keras():
    x = keras.Input((8, 32))
    parts = [layers.Dense(32, name=name)(x) for name in "qvk"]
    model = keras.Model(x, [*parts, layers.Dense(3)(layers.Attention()(parts))])
    keras_initx.initialize(model, seed=0)
    noise = np.random.default_rng(1).standard_normal((64, 8, 32))
    query, _, key, _ = model.predict(noise, verbose=0)
    assert np.std(np.einsum("btd,bsd->bts", query, key)) == pytest.approx(1, rel=0.25)


def test_a_scale_of_the_author_stays():
    plan = keras_initx.initialize(attention.model_of(attention.divided), seed=0)
    targets = {row.target for row in plan.rows if {"query", "key"} & set(row.roles)}
    assert targets == {1.0}


def _dot(a, b):
    return layers.Dot(axes=1)([a, b])


def _einsum(a, b):
    return keras.ops.einsum("bd,bd->b", a, b)


def _among_the_batch(a, b):
    return keras.ops.matmul(a, keras.ops.transpose(b))


def _two_towers(product, with_kernels):
    user, item = keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    sides = [layers.Embedding(1000, 48)(number) for number in (user, item)]
    if with_kernels:
        sides = [layers.Dense(48)(side) for side in sides]
    return keras.Model([user, item], product(*sides))


@pytest.mark.parametrize("product", [_dot, _einsum, _among_the_batch])
@pytest.mark.parametrize("with_kernels", [False, True])
def test_outputs_that_are_products_have_variance_1(product, with_kernels):
    model = _two_towers(product, with_kernels)
    plan = keras_initx.initialize(model, seed=0)
    rng = np.random.default_rng(0)
    numbers = [rng.integers(0, 1000, 512) for _ in range(2)]
    # 512 pairs of rows: their root mean square has a standard error of 3 %, and each side's scale as much.
    assert np.std(model.predict(numbers, batch_size=512, verbose=0)) == pytest.approx(1, rel=0.2)
    assert sum("the output is its product" in row.reason for row in plan.rows) == 2


@pytest.mark.parametrize(
    "product",
    [
        lambda a, b: _among_the_batch(a, b) / 7.0,
        lambda a, b: _among_the_batch(*(layers.UnitNormalization()(side) for side in (a, b))),
        lambda a, b: layers.Dense(3)(_dot(a, b)),
    ],
    ids=["divided by the author", "normalized", "read by a kernel"],
)
def test_other_products_keep_the_scale_of_their_sides(product):
    plan = keras_initx.initialize(_two_towers(product, True), seed=0)
    assert {row.target for row in plan.rows} == {1.0}


@pytest.mark.parametrize("between", [lambda: layers.Rescaling(3.0), lambda: layers.Activation("tanh")])
@pytest.mark.parametrize("method", ["gpn", "shaped", "mirrored"])
def test_a_layer_between_breaks_the_chain(between, method):
    stack = [thing for _ in range(12) for thing in (layers.Dense(32, activation="relu"), between())]
    model, _ = follow(*stack, layers.Dense(4), shape=(32,))
    assert {row.method for row in initialize(model, method, seed=0).rows} == {"variance"}
