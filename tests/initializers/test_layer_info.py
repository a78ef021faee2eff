"""What an initializer reads from its layer: the gates, the activation and the geometry of a weight."""

import keras
import numpy as np
import pytest

from tests.support.drawn import TANH, drawn

pytestmark = pytest.mark.check

L = keras.layers


def test_attention_sublayers(assert_std):
    layer = L.MultiHeadAttention(8, 16, kernel_initializer="auto")
    layer.build((None, 7, 300), (None, 7, 300))
    for sublayer in (layer.query_dense, layer.key_dense, layer.value_dense):
        assert tuple(sublayer.kernel.shape) == (300, 8, 16)
        assert_std(sublayer.kernel, np.sqrt(1 / 300))
    assert tuple(layer.output_dense.kernel.shape) == (8, 16, 300)
    assert_std(layer.output_dense.kernel, np.sqrt(1 / 128))


def test_recurrent_layers_reach_their_cells(assert_std):
    layer = L.Bidirectional(L.LSTM(100, kernel_initializer="he_auto"))
    layer.build((None, 4, 30))
    for half in (layer.forward_layer, layer.backward_layer):
        assert_std(half.cell.kernel, np.sqrt(1 / 65))


def test_a_convolutional_lstm_has_gates_too(assert_std):
    layer = L.ConvLSTM2D(32, 3, kernel_initializer="xavier_auto")
    layer.build((None, 4, 9, 9, 8))
    assert_std(layer.cell.kernel, np.sqrt(2 / (72 + 288)))


def test_the_stride_of_a_convolutional_lstm_is_that_of_its_input_kernel(assert_std):
    layer = L.ConvLSTM2D(
        32, 3, strides=2, kernel_initializer="xavier_auto", recurrent_initializer="xavier_auto"
    )
    layer.build((None, 4, 9, 9, 8))
    assert_std(layer.cell.kernel, np.sqrt(2 / (72 + 288 / 4)))
    assert_std(layer.cell.recurrent_kernel, np.sqrt(2 / (288 + 288)))


def test_a_tied_embedding_is_scaled_as_the_output_projection_it_is(assert_std):
    layer = L.ReversibleEmbedding(1000, 64, embeddings_initializer="auto")
    layer.build((None, 5))
    assert_std(layer.embeddings, np.sqrt(1 / 64))


def test_a_subclass_of_a_known_layer_keeps_its_kind(assert_std):
    class Mine(L.DepthwiseConv2D):
        pass

    assert_std(drawn(Mine(3, depthwise_initializer="auto"), (None, 9, 9, 500)), np.sqrt(1 / 9))


def test_an_unknown_layer_falls_back_to_its_shape_and_its_activation(assert_std):
    class Mine(L.Layer):
        activation = staticmethod(keras.activations.tanh)

        def build(self, input_shape):
            self.kernel = self.add_weight(shape=(input_shape[-1], 30), initializer="auto", name="kernel")

    assert_std(drawn(Mine(), (None, 800)), np.sqrt(TANH / 800))
