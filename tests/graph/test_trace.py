import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import InitxError
from keras_initx._graph import trace
from tests.support import zoo
from tests.support.recorder import same, values

pytestmark = pytest.mark.check


def kinds(model, *args):
    return [step.kind for step in trace(model, *args).steps if step.kind != "ConvertToTensor"]


class TestSteps:
    def test_sequential_and_nested(self):
        inner = keras.Sequential([layers.Dense(4), layers.ReLU()])
        model = keras.Sequential([keras.Input((3,)), inner, layers.Dense(2)])
        assert kinds(model) == ["Dense", "ReLU", "Dense"]

    def test_a_shared_layer_is_a_step_at_each_call(self):
        shared, x = layers.Dense(3, name="shared"), keras.Input((3,))
        graph = trace(keras.Model(x, shared(shared(x))))
        dense = [step for step in graph.steps if step.kind == "Dense"]
        assert [step.path for step in dense] == ["shared", "shared"]
        assert dense[0].outputs == dense[1].inputs

    def test_operators_and_operations(self):
        x, y = keras.Input((3,)), keras.Input((3,))
        out = ops.relu(layers.Dense(3)(x) + y) * 2.0
        model = keras.Model([x, y], [out, out[:, :1]])
        graph = trace(model)
        assert kinds(model) == ["Dense", "Add", "Relu", "Multiply", "GetItem"]
        assert len(graph.inputs) == len(graph.outputs) == 2

    def test_operations_in_a_subclassed_model(self, plain_model):
        assert kinds(plain_model("subclassed"))[:3] == ["Dense", "Relu", "Matmul"]

    def test_variables_left_of_a_tensor(self):
        class Scale(layers.Layer):
            def build(self, shape):
                self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")

            def call(self, x):
                return self.scale * x + x * ops.convert_to_tensor(self.scale)

        model = keras.Sequential([keras.Input((3,)), Scale()])
        assert kinds(model) == ["Multiply", "Multiply", "Add"]
        assert all("scale" in step.weight_paths[0] for step in trace(model).steps[-3:-1])

    @pytest.mark.parametrize(
        "equation", ["btd,bsd->bts", "BTD,BSD->BTS", "bTd,bSd->bTS", "...TD,...SD->...TS"]
    )
    def test_letters_in_an_einsum(self, equation):
        class Scores(layers.Layer):
            def call(self, x, y):
                return ops.einsum(equation, x, y)

            def compute_output_spec(self, x, y):
                return keras.KerasTensor((x.shape[0], x.shape[1], y.shape[1]), x.dtype)

        x, y = keras.Input((5, 3)), keras.Input((4, 3))
        model = keras.Model([x, y], layers.Dense(2)(Scores()(x, y)))
        assert kinds(model) == ["Einsum", "Dense"]
        assert [s.shapes for s in trace(model).steps if s.kind == "Einsum"] == [((2, 5, 4),)]

    def test_time_distributed_passes_the_training_mode_on(self):
        class Noisy(keras.Model):
            def __init__(self):
                super().__init__()
                self.times = layers.TimeDistributed(layers.Dropout(0.5))

            def call(self, x):
                return self.times(x, training=True)

        model = Noisy()
        x = np.zeros((2, 5, 3), "float32")
        model(x)
        step = next(s for s in trace(model, x).steps if s.kind == "Dropout")
        assert step.call.kwargs == {"training": True}

    @pytest.mark.parametrize("shape", [(None, None, 3), (None, 5)])
    def test_unknown_sizes(self, shape):
        x = keras.Input(shape)
        layer = layers.Conv2D(4, 3) if len(shape) == 3 else layers.LSTM(4)
        graph = trace(keras.Model(x, layer(x)))
        assert all(n is not None for step in graph.steps for s in step.shapes for n in s)

    def test_dictionaries(self):
        x = {"a": keras.Input((3,), name="a"), "b": keras.Input((3,), name="b")}
        model = keras.Model(x, {"y": layers.Dense(2)(x["a"] + x["b"])})
        assert kinds(model) == ["Add", "Dense"]

    def test_a_recurrent_layer_is_one_step(self):
        step = trace(keras.Sequential([keras.Input((4, 3)), layers.LSTM(5)])).steps[-1]
        assert (step.kind, step.opaque) == ("LSTM", "")

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs functions of TensorFlow")
    def test_functions_of_the_backend_make_a_layer_opaque(self):
        import tensorflow as tf

        class Backend(layers.Layer):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.inner = layers.Dense(4)

            def build(self, shape):
                self.inner.build(shape)

            def call(self, x):
                return tf.nn.relu(self.inner(x))

            def compute_output_shape(self, shape):
                return (*shape[:-1], 4)

        step = trace(keras.Sequential([keras.Input((3,)), Backend()])).steps[-1]
        assert step.kind == "Backend"
        assert "KerasTensor" in step.opaque


class TestTheModelStaysUnchanged:
    def nodes(self, model):
        return [len(x._inbound_nodes) for x in model._flatten_layers()], len(model.operations)

    def test_nodes_weights_compiled_state(self):
        model = zoo.residual_cnn()
        model.compile("adam", "sparse_categorical_crossentropy")
        before, nodes, optimizer = values(model), self.nodes(model), model.optimizer
        trace(model)
        assert same(before, model)
        assert self.nodes(model) == nodes
        assert model.compiled
        assert model.optimizer is optimizer

    def test_names_of_later_layers(self):
        keras.backend.clear_session()
        model = zoo.subclassed()
        first = int(layers.Dense(1).name.rpartition("_")[2])
        trace(model)
        assert int(layers.Dense(1).name.rpartition("_")[2]) == first + 1
        before = layers.Activation("relu").name
        ops.relu(keras.Input((2,)))
        trace(model)
        assert layers.Activation("relu").name != before

    def test_automatic_names_of_operations_do_not_move(self):
        keras.backend.clear_session()
        first = layers.Add().name
        trace(zoo.vit(blocks=1))
        # Building the model uses up names; the trace must not.
        names = {layers.Add().name for _ in range(1)}
        trace(zoo.subclassed())
        assert first == "add"
        assert names.isdisjoint({first})


class TestErrors:
    def test_not_a_model(self):
        with pytest.raises(InitxError, match=r"^`model` must be a keras.Model, got 3\.$"):
            trace(3)

    def test_not_built(self):
        with pytest.raises(
            InitxError, match=r"^`model` 'sequential.*' is not built\. Call it once on a batch: model\(x\)\.$"
        ):
            trace(keras.Sequential([layers.Dense(2)]))

    def test_inputs_that_do_not_fit(self):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        with pytest.raises(InitxError, match=r"^`data` must have shape \(None, 3\), got \(2, 7\)\.$"):
            trace(model, np.zeros((2, 7), "float32"))

    def test_a_sample_without_a_batch_axis(self):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
        message = (
            r"^`data` must have shape \(None, 3\), got \(3,\)\. The first axis counts samples: pass x\[None\]"
        )
        with pytest.raises(InitxError, match=message):
            trace(model, np.zeros(3, "float32"))

    def test_a_model_that_does_not_record_its_inputs(self):
        class Named(keras.Model):
            def call(self, inputs):
                return inputs["a"] + inputs["b"]

        model = Named(name="named")
        x = {name: np.zeros((2, 3), "float32") for name in "ab"}
        model(x)
        assert [step.kind for step in trace(model, x).steps if step.kind != "ConvertToTensor"] == ["Add"]
        with pytest.raises(
            InitxError, match=r"^`model` 'named' does not record the shapes .*\. Pass data=: "
        ):
            trace(model)

    def test_a_model_that_cannot_be_called(self):
        class Wide(keras.Model):
            def call(self, x):
                if x.shape[-1] < 3:
                    raise ValueError("too narrow.")
                return x

        model = Wide()
        model(np.zeros((2, 3), "float32"))
        message = (
            r"^The model cannot be called on `data` of shape \(2, 2\): ValueError: .*too narrow\. Pass data="
        )
        with pytest.raises(InitxError, match=message):
            trace(model, np.zeros((2, 2), "float32"))
