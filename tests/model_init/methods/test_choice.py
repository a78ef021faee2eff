import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from tests.support import attention

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
