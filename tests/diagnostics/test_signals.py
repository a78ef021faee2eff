"""Tokens are judged on the residual stream, not inside its branches."""

import keras
import pytest
from keras import layers

from keras_initx.diagnostics import diagnose
from tests.support.networks import data

pytestmark = pytest.mark.one_backend


def encoder(residual, blocks=3, stddev=0.004, width=32):
    """Return the attentions of BERT's encoder: post-norm, with nearly equal scores."""
    start = keras.initializers.RandomNormal(stddev=stddev, seed=1)
    inputs = keras.Input((10, width))
    x = layers.LayerNormalization()(inputs)
    for n in range(blocks):
        h = layers.MultiHeadAttention(2, width // 2, kernel_initializer=start, name=f"attention_{n}")(x, x)
        x = layers.LayerNormalization()(x + h if residual else h)
    return keras.Model(inputs, x)


class TestTokens:
    @pytest.mark.parametrize("residual", [True, False])
    def test_attention_that_makes_tokens_alike_collapses_without_residual_connections_only(self, residual):
        report = diagnose(encoder(residual), data(8, 10, 32))
        # Nearly equal scores: within each branch all tokens are alike.
        assert report.rows[-1].token_cosine > 0.9999
        assert report.rows[-1].is_bypassed == residual
        assert ("rank collapse" in report.rows[-1].verdicts) == (not residual)
        assert ("Add residual connections" in report.summary()) == (not residual)
