import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx._graph import trace
from keras_initx._graph.classify import activation_after

pytestmark = pytest.mark.check


def steps_of(model, *inputs):
    """Return the steps of a model by kind, the first of each."""
    steps = {}
    for step in trace(model, *inputs).steps:
        steps.setdefault(step.kind, step)
    return steps


def test_every_class_of_step():
    ids, x = keras.Input((6,), dtype="int32"), keras.Input((6, 8))
    h = layers.Add()([layers.Embedding(9, 8, name="table")(ids), x])
    h = layers.Dropout(0.1)(layers.LayerNormalization()(h))
    h = layers.LSTM(4, name="lstm")(layers.ReLU()(h))
    h = layers.Dense(4, "tanh", name="dense")(h)
    model = keras.Model([ids, x], layers.Multiply()([h, ops.sigmoid(h)]))
    steps = steps_of(model)
    names = {kind: [v.path for v in step.kernels] for kind, step in steps.items() if step.is_weighted}
    assert names == {
        "Embedding": ["table/embeddings"],
        "LSTM": ["lstm/lstm_cell/kernel", "lstm/lstm_cell/recurrent_kernel"],
        "Dense": ["dense/kernel"],
    }
    assert steps["Dense"].bias is model.get_layer("dense").bias
    assert [kind for kind, step in steps.items() if step.is_lookup] == ["Embedding"]
    assert [kind for kind, step in steps.items() if step.is_normalization] == ["LayerNormalization"]
    assert [kind for kind, step in steps.items() if step.is_recurrent] == ["LSTM"]
    assert [kind for kind, step in steps.items() if step.is_merge] == ["Add", "Multiply"]
    assert [kind for kind, step in steps.items() if step.is_product] == ["Multiply"]
    # A signal that is added to itself joins no other.
    doubled = keras.Model(x, layers.Add()([x, x]))
    assert not any(step.is_merge for step in trace(doubled).steps)
    # Keras converts the inputs of a functional model to tensors first.
    pass_through = {kind for kind, step in steps.items() if step.is_pass_through} - {
        "ConvertToTensor",
        "Cast",
    }
    assert pass_through == {"Add", "LayerNormalization", "Dropout"}
    activations = {kind: step.activation.name for kind, step in steps.items() if step.activation}
    assert activations == {"ReLU": "relu", "Sigmoid": "sigmoid"}
    applied = {kind: step.applied_activation.name for kind, step in steps.items() if step.applied_activation}
    assert applied == {"Dense": "tanh"}


def test_kernels_of_operations_and_of_frozen_layers():
    class Table(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight(shape=(7, 3), name="table")
            self.matrix = self.add_weight(shape=(3, 3), name="matrix")
            self.statistic = self.add_weight(shape=(3, 3), name="statistic", trainable=False)

        def call(self, ids):
            rows = ops.take(self.table, ids, axis=0)
            return ops.tensordot(ops.matmul(rows, self.matrix), self.statistic, 1)

    model = keras.Sequential([keras.Input((6,), dtype="int32"), Table(name="own"), layers.Dense(2, name="d")])
    model.get_layer("d").trainable = False
    steps = steps_of(model)
    assert [v.name for v in steps["Take"].kernels] == ["table"]
    assert steps["Take"].is_lookup
    assert [v.name for v in steps["Matmul"].kernels] == ["matrix"]
    # A matrix that is not trained is a kernel only if its name says so.
    assert not steps["Tensordot"].is_weighted
    assert [v.name for v in steps["Dense"].kernels] == ["kernel"]


def test_an_activation_of_several_operations_is_read_once():
    x = keras.Input((3,))
    graph = trace(keras.Model(x, x * ops.sigmoid(x)))
    (tensor,) = next(step.inputs for step in graph.steps if step.kind == "Sigmoid")
    activation, result = activation_after(graph, tensor)
    assert result == graph.outputs[0]
    (value,) = activation.function.function(np.array([1.0]))
    assert value == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-6)
    assert activation_after(graph, tensor)[0] is activation
    assert activation_after(graph, result) is None


@pytest.mark.skipif(not hasattr(layers, "ReversibleEmbedding"), reason="Keras has no ReversibleEmbedding")
@pytest.mark.parametrize("tied", [True, False])
def test_a_reversible_embedding_looks_up_or_projects(tied):
    ids = keras.Input((4,), dtype="int32")
    table = layers.ReversibleEmbedding(9, 3, tie_weights=tied)
    model = keras.Model(ids, table(layers.LayerNormalization()(table(ids)), reverse=True))
    first, last = [step for step in trace(model).steps if step.is_weighted]
    assert (first.is_lookup, last.is_lookup) == (True, False)
    assert first.kernels == (table.embeddings,)
    assert last.kernels == (table.embeddings if tied else table.reverse_embeddings,)
