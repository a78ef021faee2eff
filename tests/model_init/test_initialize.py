import contextlib
import random

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx
from keras_initx import InitxError, initialize
from keras_initx._graph.context import weight_contexts
from keras_initx._graph.noise import noise
from keras_initx._graph.trace import trace
from tests.support import zoo
from tests.support.recorder import pre_activations, same, values


def plain(depth=12, activation="relu", width=32):
    hidden = [layers.Dense(width, activation=activation) for _ in range(depth - 1)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(10)])


def relative(model, plan, batch, training):
    """Measured on other noise, over what the plan says, by layer."""
    found = pre_activations(model, noise(trace(model), batch, seed=77), training)
    said = {row.path.rpartition("/")[0]: row.scaled for row in plan.rows}
    return np.array([size / said[path] for path, size in found.items() if path in said])


class TestTheAim:
    @pytest.mark.parametrize("name", zoo.PLAIN)
    def test_models_in_plain_keras(self, name):
        model = zoo.PLAIN[name]()
        plan = initialize(model, seed=0)
        ratios = relative(model, plan, 256, training=name == "residual_cnn")
        # Of the tagger only the head can be listened to; tests/test_calibrate.py has its gates.
        assert len(ratios) >= (1 if name == "lstm_tagger" else 3)
        assert np.all((ratios > 0.5) & (ratios < 2))
        assert np.mean(np.abs(ratios - 1) < 0.1) >= 0.95

    @pytest.mark.slow
    @pytest.mark.parametrize("name", zoo.APPLICATIONS)
    def test_applications(self, name):
        model = getattr(keras.applications, name)(weights=None)
        plan = initialize(model, seed=0)
        # A small batch changes batch normalization itself, most where squeeze-and-excite gates read it.
        batch = {"MobileNetV3Small": 64, "EfficientNetV2B0": 32}.get(name, 8)
        ratios = relative(model, plan, batch, training=True)
        assert len(ratios) > 30
        assert np.all((ratios > 0.5) & (ratios < 2))
        assert np.mean(np.abs(ratios - 1) < 0.1) >= 0.95


class TestNothingElseMoves:
    def test_state(self):
        model = zoo.residual_cnn()
        model.compile("adam", "sparse_categorical_crossentropy")
        x, y = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32"), np.zeros(8, "int32")
        model.fit(x, y, epochs=1, verbose=0)
        optimizer, function = model.optimizer, model.train_function
        slots = [ops.convert_to_numpy(v).copy() for v in optimizer.variables]
        kept = [v for v in model.variables if not v.path.endswith("kernel")]
        before = [ops.convert_to_numpy(v).copy() for v in kept]
        nodes = [len(layer._inbound_nodes) for layer in model.layers]
        initialize(model, seed=1)
        assert model.optimizer is optimizer
        assert model.train_function is function
        assert all(
            np.array_equal(a, ops.convert_to_numpy(v))
            for a, v in zip(slots, optimizer.variables, strict=True)
        )
        assert all(np.array_equal(a, ops.convert_to_numpy(v)) for a, v in zip(before, kept, strict=True))
        assert nodes == [len(layer._inbound_nodes) for layer in model.layers]

    def test_the_global_random_state(self):
        model = plain()
        keras.utils.set_random_seed(5)
        before = random.getstate()
        initialize(model, seed=1)
        assert random.getstate() == before

    def test_frozen_layers_are_kept(self):
        model = plain()
        model.layers[2].trainable = False
        before = ops.convert_to_numpy(model.layers[2].kernel).copy()
        plan = initialize(model, seed=1)
        assert np.array_equal(before, ops.convert_to_numpy(model.layers[2].kernel))
        assert [row.method for row in plan.rows].count("frozen") == 1


class TestSeeds:
    def drawn(self, seed, names=None):
        keras.utils.clear_session()
        model = zoo.vit(blocks=2)
        for layer, name in zip(model.layers, names or (), strict=False):
            layer.name = name
        initialize(model, seed=seed)
        return [ops.convert_to_numpy(v).copy() for v in model.trainable_variables]

    def test_equal_seeds_equal_weights(self):
        one, two = self.drawn(3), self.drawn(3)
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        assert not np.array_equal(one[0], self.drawn(4)[0])

    def test_whatever_the_layers_are_called(self):
        model, other = plain(), plain()
        initialize(model, seed=1)
        initialize(other, seed=1)
        assert all(np.array_equal(a, b) for a, b in zip(values(model), values(other), strict=True))

    def test_layers_of_one_shape_differ(self):
        model = plain()
        initialize(model, "variance", seed=1)
        assert not np.array_equal(*(ops.convert_to_numpy(layer.kernel) for layer in model.layers[1:3]))

    def test_without_one_set_random_seed_holds(self):
        model = plain()
        keras.utils.set_random_seed(8)
        initialize(model)
        first = values(model)
        initialize(model)
        assert not same(first, model)
        keras.utils.set_random_seed(8)
        initialize(model)
        assert same(first, model)


class TestAtomic:
    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
    @pytest.mark.parametrize("at", [1, 4, 9, 20])
    def test_whatever_is_raised(self, monkeypatch, error, at):
        model = zoo.residual_cnn(blocks=2)
        before, call = values(model), keras.Layer.__call__
        original, count = keras.Variable.assign, [0]

        def assign(variable, value):
            count[0] += 1
            if count[0] == at:
                raise error("no")
            return original(variable, value)

        monkeypatch.setattr(keras.Variable, "assign", assign)
        with pytest.raises(error):
            initialize(model, "residual", seed=1)
        monkeypatch.undo()
        assert count[0] > at
        assert same(before, model)
        assert keras.Layer.__call__ is call

    def test_a_result_of_zeros(self):
        x = keras.Input((4,))
        dead = layers.Rescaling(0.0)(layers.Dense(4, name="first")(x))
        model = keras.Model(x, layers.Dense(3, name="second")(dead))
        before = values(model)
        with pytest.raises(InitxError, match=r"^second/kernel: received 'only zeros'"):
            initialize(model, seed=1)
        assert same(before, model)

    def test_dry_run(self):
        model = zoo.vit(blocks=1)
        before = values(model)
        plan = initialize(model, seed=1, dry_run=True)
        assert same(before, model)
        assert plan.dry_run
        assert "would initialize" in plan.summary()
        assert [r.drawn for r in plan.rows] == [r.drawn for r in initialize(model, seed=1).rows]


class TestSelection:
    def test_only_and_skip(self):
        model = plain(6)
        names = [layer.name for layer in model.layers]
        before = [ops.convert_to_numpy(layer.kernel).copy() for layer in model.layers]
        plan = initialize(model, only=names[:3], skip=names[1], seed=1)
        changed = [
            not np.array_equal(b, ops.convert_to_numpy(layer.kernel))
            for b, layer in zip(before, model.layers, strict=True)
        ]
        assert changed == [True, False, True, False, False, False]
        assert [row.method == "kept" for row in plan.rows] == [not c for c in changed]

    def test_a_pattern_that_matches_nothing(self):
        model = plain(3)
        model.layers[0].name = "encoder"
        before = values(model)
        with pytest.raises(InitxError, match=r"only: received 'dens'.*Did you mean 'dense"):
            initialize(model, only="dens")
        assert same(before, model)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"method": "atuo"}, r"^method: received 'atuo'.*Did you mean 'auto'\?"),
            ({"method": "lsuv"}, "^data: received None; allowed: a batch of data: LSUV scales on it"),
            ({"data": np.full((4, 16), np.nan)}, "^data: received 'NaN or infinite values'"),
            ({"data": np.zeros((4, 3), "float32")}, r"^data: received \(4, 3\); allowed: inputs of shape"),
            ({"seed": "a"}, "^seed: received 'a'; allowed: None or an integer"),
            ({"output_bias": "zeros"}, "^output_bias: received 'zeros'"),
            ({"output_bias": "prior"}, "^labels: received None.*or class_counts="),
            ({"labels": [0, 1]}, "^output_bias: received None; allowed: 'prior'"),
            ({"output_bias": "prior", "labels": [0], "class_counts": [1]}, "^labels: .*one of the two"),
            ({"method": np.zeros((4, 16))}, "^method: received 'ndarray'.*goes to data="),
            ({"data": [np.zeros((4, 16)), np.zeros((5, 16))]}, "^data: .*as many samples of every input"),
            ({"data": np.zeros((0, 16))}, "^data: .*at least one sample"),
            ({"data": np.zeros((16,), "float32")}, r"^data: received \(16,\).*dataset.batch"),
            ({"data": np.array([["a"] * 16])}, "^data: received 'values of type"),
            ({"data": np.ones((4, 16), "complex64")}, "^data: .*real numbers"),
            ({"data": np.array([[None] * 16])}, "^data: .*real numbers"),
            ({"data": np.zeros((4, 16), "float32")}, "only zeros.*Look at the data"),
            ({"data": lambda: 0}, "^data: received 'function'.*Call the function"),
            ({"data": [[1.0] * 16] * 4}, "^data: .*np.asarray"),
            ({"method": "residual"}, "a model with residual sums"),
            ({"pretrained": 3}, "the path of a .keras or .weights.h5 file"),
            ({"pretrained": "no.keras"}, "a file that is there"),
        ],
    )
    def test_it_is_named_and_nothing_changes(self, arguments, text):
        model = plain(4)
        before = values(model)
        with pytest.raises(InitxError, match=text):
            initialize(model, **arguments)
        assert same(before, model)

    def test_models(self):
        with pytest.raises(InitxError, match=r"^model: received 3; allowed: a keras.Model"):
            initialize(3)
        with pytest.raises(InitxError, match=r"a built model. Call it on a batch of data"):
            initialize(keras.Sequential([layers.Dense(3)]))
        x = keras.Input((3,))
        with pytest.raises(InitxError, match="a model with weights"):
            initialize(keras.Model(x, layers.ReLU()(x)))
        model = plain(3)
        model.layers[1].enable_lora(2)
        with pytest.raises(InitxError, match="LoRA or quantization"):
            initialize(model)


class TestOutputBias:
    def test_softmax_gives_the_frequencies(self):
        x = keras.Input((5,))
        head = layers.Dense(3, activation="softmax", name="head")
        model = keras.Model(x, head(layers.Dense(8, activation="relu")(x)))
        plan = initialize(model, output_bias="prior", labels=[0] * 6 + [1] * 3 + [2], seed=0)
        np.testing.assert_allclose(ops.convert_to_numpy(ops.softmax(head.bias)), [0.6, 0.3, 0.1], atol=1e-6)
        assert any("log-odds" in note for note in plan.notes)
        one_hot = np.eye(3)[[0, 1, 1, 2]]
        initialize(model, output_bias="prior", labels=one_hot, seed=0)
        np.testing.assert_allclose(ops.convert_to_numpy(ops.softmax(head.bias)), [0.25, 0.5, 0.25], atol=1e-6)

    def test_sigmoid(self):
        x = keras.Input((5,))
        head = layers.Dense(1, activation="sigmoid")
        initialize(keras.Model(x, head(x)), output_bias="prior", class_counts=[90, 10], seed=0)
        assert float(ops.convert_to_numpy(ops.sigmoid(head.bias))[0]) == pytest.approx(0.1, abs=1e-6)

    @pytest.mark.parametrize(
        ("labels", "received"),
        [
            (["cat", "dog"], "np.unique"),
            ([-1, 0, 1], "values from -1 to 1"),
            ([0.5, 1.0], "values from 0.5 to 1"),
            ([0, 1, 2, 3], "values from 0 to 3"),
            ([], "of shape"),
            ([0, 1, 1], "no label of class 2"),
            ([[1, 1, 0], [0, 0, 1]], "not one-hot"),
        ],
    )
    def test_labels_that_cannot_be(self, labels, received):
        model = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")])
        before = values(model)
        with pytest.raises(InitxError, match=f"(?s)^labels: .*{received}"):
            initialize(model, output_bias="prior", labels=labels)
        assert same(before, model)


def test_recurrent_kernels_are_orthogonal_and_say_so():
    model = keras.Sequential([keras.Input((6, 5)), layers.GRU(4), layers.Dense(2)])
    plan = initialize(model, seed=0)
    row = next(row for row in plan.rows if row.path.endswith("recurrent_kernel"))
    assert (row.method, row.target) == ("orthogonal", None)
    kernel = ops.convert_to_numpy(model.layers[0].cell.recurrent_kernel)
    for gate in np.split(kernel, 3, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)


def test_what_is_left_is_counted_apart():
    model = plain(3)
    model.layers[0].trainable = False
    summary = initialize(model, seed=0).summary()
    assert "initialized 2 of 3 weights by auto (2 variance, 1 frozen)" in summary


class TestPrecision:
    def test_mixed_precision(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = plain(12, "gelu")
            plan = initialize(model, seed=0)
        finally:
            keras.config.set_dtype_policy("float32")
        assert model.layers[0].kernel.dtype == "float32"
        found = pre_activations(model, noise(trace(model), 512, seed=3))
        assert np.allclose([found[k] for k in found], 1, atol=0.1)
        assert len(plan.rows) == 12

    def test_a_loose_measurement_is_made_again_on_more_noise(self):
        x = keras.Input((4,))
        h = layers.Dense(4)(x)
        model = keras.Model(x, layers.Dense(2)(h * h * h))
        plan = initialize(model, seed=0)
        other = relative(model, plan, 4096, False)
        assert np.all(np.abs(other - 1) < 0.25)
        assert plan.rows[-1].error < 0.1


def test_a_shared_layer_stands_in_the_plan_once():
    x = keras.Input((16,))
    shared = layers.Dense(16, name="shared")
    plan = initialize(keras.Model(x, shared(shared(x))), seed=0)
    assert [row.path for row in plan.rows] == ["shared/kernel"]


def test_string_initializers_are_corrected_by_what_the_graph_shows():
    x = keras.Input((100,))
    layer = layers.Dense(400, kernel_initializer="auto", use_bias=False)
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(layers.BatchNormalization()(layer(x)))))
    assert ops.convert_to_numpy(layer.kernel).var() == pytest.approx(1 / 100, rel=0.1)
    initialize(model, "variance", seed=0)
    assert ops.convert_to_numpy(layer.kernel).var() == pytest.approx(2 / 100, rel=0.1)


def test_it_is_public():
    assert keras_initx.initialize is initialize
    assert {"initialize", "Plan", "PlanRow", "role"} <= set(keras_initx.__all__)


class Reshaped(layers.Layer):
    """Adds a table that the trace sees as a constant, made of what the table held then."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1, *shape[1:]), initializer=keras.initializers.RandomNormal(0.02))

    def call(self, x):
        return x + ops.reshape(ops.convert_to_tensor(self.table) * 1.0, (1, *x.shape[1:]))


def test_constants_are_made_of_what_was_drawn():
    x = inputs = keras.Input((4, 8))
    table = Reshaped()
    x = layers.Dense(3)(layers.Flatten()(table(layers.Dense(8, activation="relu")(x))))
    model = keras.Model(inputs, x)
    data = np.random.default_rng(0).standard_normal((64, 4, 8)).astype("float32")
    plan = initialize(model, data=data, seed=0)
    assert any("additive_table" in row.roles for row in plan.rows)
    hidden = ops.convert_to_numpy(model.layers[1](data))
    size = np.sqrt(np.mean(ops.convert_to_numpy(table.table) ** 2))
    assert size == pytest.approx(np.sqrt(np.mean(hidden**2)), rel=0.05)
    found = pre_activations(model, data)
    assert found[model.layers[-1].path] == pytest.approx(1, rel=1e-3)


class TestWhatUsersPass:
    def test_x_and_y(self):
        model, rng = plain(3), np.random.default_rng(0)
        x = rng.standard_normal((20, 16)).astype("float32")
        initialize(model, data=x, seed=0)
        before = values(model)
        initialize(model, data=(x, np.zeros(20)), seed=0)
        assert same(before, model)

    def test_ids_beyond_their_table(self):
        x = keras.Input((5,), dtype="int32")
        model = keras.Model(x, layers.Dense(2)(layers.Embedding(7, 4, name="words")(x)))
        before = values(model)
        with pytest.raises(InitxError, match=r"data|only zeros|not finite"):
            initialize(model, data=np.full((4, 5), 99), seed=0)
        assert same(before, model)

    def test_a_fixed_batch(self):
        cell = layers.LSTM(3, stateful=True)
        model = keras.Sequential([keras.Input(batch_shape=(2, 5, 6)), cell, layers.Dense(1)])
        states = [ops.convert_to_numpy(v) for v in model.non_trainable_variables]
        assert "initialized 3 weights" in initialize(model, seed=0).summary()
        for variable, value in zip(model.non_trainable_variables, states, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)

    def test_pixels(self):
        x = keras.Input((8, 8, 3), dtype="uint8")
        h = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(x))
        model = keras.Model(x, layers.Dense(2)(layers.Flatten()(h)))
        assert [row.scaled for row in initialize(model, seed=0).rows] == [1.0, 1.0]

    def test_a_frozen_or_skipped_head_keeps_its_bias(self):
        model = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax", name="head")])
        with pytest.raises(InitxError, match=r"^output_bias: .*head/bias, which is frozen or left out"):
            initialize(model, output_bias="prior", class_counts=[1, 2, 3], skip="head")
        model.layers[0].trainable = False
        with pytest.raises(InitxError, match=r"which is frozen"):
            initialize(model, output_bias="prior", class_counts=[1, 2, 3])

    def test_labels_of_pixels(self):
        x = keras.Input((4, 4, 2))
        head = layers.Conv2D(3, 1, activation="softmax")
        labels = np.array([0, 0, 1, 2] * 8).reshape(2, 4, 4)
        initialize(keras.Model(x, head(x)), output_bias="prior", labels=labels, seed=0)
        np.testing.assert_allclose(ops.convert_to_numpy(ops.softmax(head.bias)), [0.5, 0.25, 0.25], atol=1e-6)

    def test_a_dry_run_tells_what_comes_next(self):
        keras.utils.set_random_seed(3)
        model = plain(3)
        said = initialize(model, dry_run=True)
        assert [row.drawn for row in initialize(model).rows] == [row.drawn for row in said.rows]

    def test_the_same_model_with_other_names(self):
        source, model = plain(3), plain(3)
        plan = initialize(model, pretrained=source)
        assert "3 pretrained" in plan.summary()
        assert any("in their order" in note for note in plan.notes)
        for mine, theirs in zip(model.weights, source.weights, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(mine), ops.convert_to_numpy(theirs))

    @pytest.mark.parametrize("seed", ["a", 1.5, True, [1]])
    def test_reinitialize_checks_its_seed(self, seed):
        with pytest.raises(InitxError, match=r"^seed: received"):
            keras_initx.reinitialize(plain(2), seed=seed)

    def test_roles_stand_above_classes(self):
        with pytest.raises(InitxError, match=r"^role: .*a class of layers"):
            keras_initx.role("gate")(layers.Dense(3))
        with pytest.raises(InitxError, match=r"^role: received 'Own'.*@role"):

            @keras_initx.role
            class Own(layers.Dense):
                pass


class Tied(layers.Layer):
    """Multiplies with the kernel of another layer, transposed: a constant to the trace."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.other.kernel))


def test_a_tied_weight_is_scaled_at_its_second_use_too():
    x = keras.Input((64,))
    first, last = layers.Dense(16), layers.Dense(8, name="last")
    model = keras.Model(x, last(Tied(first)(first(x))))
    data = 20 * np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
    initialize(model, data=data, seed=1)
    assert pre_activations(model, data)["last"] == pytest.approx(1, rel=1e-3)


class Noisy(layers.Layer):
    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.generator)


@pytest.mark.parametrize("fails", [False, True])
def test_generators_and_states_stay(fails):
    cell, noisy = layers.GRU(4, stateful=True), Noisy()
    end = [layers.Rescaling(0.0), layers.Dense(2)] if fails else [layers.Dense(2)]
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 6)), noisy, cell, *end])
    kept = [ops.convert_to_numpy(v).copy() for v in (noisy.generator.state, *cell.states)]
    with pytest.raises(InitxError) if fails else contextlib.nullcontext():
        initialize(model, seed=0)
    for variable, value in zip((noisy.generator.state, *cell.states), kept, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


def normalized_branch():
    x = inputs = keras.Input((8,))
    for number in range(3):
        h = layers.BatchNormalization(name=f"bn{number}")(layers.Dense(8, name=f"d{number}")(x))
        x = layers.Add()([x, h])
    return keras.Model(inputs, layers.Dense(2)(x))


def test_gammas_that_are_not_to_change_stay():
    model = normalized_branch()
    model.get_layer("bn0").trainable = False
    initialize(model, "residual", seed=0, skip="bn1")
    gammas = [float(ops.convert_to_numpy(model.get_layer(f"bn{n}").gamma)[0]) for n in range(3)]
    assert gammas == pytest.approx([1, 1, 3**-0.5])


def test_skip_protects_from_pretrained_too():
    source, model = plain(3), plain(3)
    kernel = ops.convert_to_numpy(model.layers[0].kernel).copy()
    initialize(model, pretrained=source, skip=model.layers[0].name)
    np.testing.assert_array_equal(ops.convert_to_numpy(model.layers[0].kernel), kernel)


def test_names_with_brackets_are_printed():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="block[bold]")])
    assert "block[bold]" in str(initialize(model, seed=0))


class OwnCell(layers.Layer):
    """The minimal cell of Keras's guide: names of its own, and no activation attribute."""

    def __init__(self, units):
        super().__init__()
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), initializer="uniform", name="kernel")
        self.inner = self.add_weight(shape=(self.units, self.units), initializer="uniform", name="inner")

    def call(self, x, states):
        h = ops.matmul(x, self.kernel) + ops.matmul(states[0], self.inner)
        return h, [h]


class ShapedCell(OwnCell):
    """Its kernel is no matrix that the input is multiplied with."""

    def build(self, shape):
        super().build(shape)
        self.kernel = self.add_weight(shape=(self.units, shape[-1]), initializer="uniform", name="kernel")

    def call(self, x, states):
        h = ops.matmul(x, ops.transpose(self.kernel)) + ops.matmul(states[0], self.inner)
        return h, [h]


def test_an_own_cell_is_scaled_by_what_its_input_gives():
    model = keras.Sequential([keras.Input((6, 500)), layers.RNN(OwnCell(4)), layers.Dense(2)])
    data = np.random.default_rng(0).normal(3, 1, size=(32, 6, 500)).astype("float32")
    plan = initialize(model, data=data, seed=0)
    found = data @ ops.convert_to_numpy(model.layers[0].cell.kernel)
    assert np.sqrt(np.mean(found**2)) == pytest.approx(1, abs=1e-3)
    (inner,) = (row for row in plan.rows if row.path.endswith("inner"))
    assert inner.reason == "not measured: left as drawn"


def test_a_cell_that_cannot_be_measured_says_so():
    model = keras.Sequential([keras.Input((6, 5)), layers.RNN(ShapedCell(4)), layers.Dense(2)])
    rows = [row for row in initialize(model, seed=0).rows if row.path.endswith("/kernel")]
    assert any(row.reason.startswith("not measured") and row.target is None for row in rows[:-1])
    assert rows[-1].scaled == 1


def test_cells_of_a_stack_one_after_another():
    cells = [layers.LSTMCell(40), layers.SimpleRNNCell(30)]
    model = keras.Sequential([keras.Input((12, 5)), layers.RNN(cells), layers.Dense(2)])
    data = np.random.default_rng(0).normal(size=(64, 12, 5)).astype("float32")
    initialize(model, data=data, seed=0)
    # By hand: what the second cell receives is the sequence of the first one's states.
    first = layers.RNN(cells[0], return_sequences=True)(data)
    states = ops.convert_to_numpy(layers.RNN(cells[1], return_sequences=True)(first))
    kernel, recurrent = (ops.convert_to_numpy(v) for v in (cells[1].kernel, cells[1].recurrent_kernel))
    arriving = ops.convert_to_numpy(first)[:, 1:] @ kernel + states[:, :-1] @ recurrent
    assert np.sqrt(np.mean(arriving**2)) == pytest.approx(1, abs=0.15)


class Unseeded(layers.Layer):
    def call(self, x):
        return x + keras.random.normal(ops.shape(x))


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="Keras refuses unseeded operations on JAX")
def test_the_global_generator_stays(monkeypatch):
    generators, true_next = [], keras.random.SeedGenerator.next

    def watched(generator, *args, **kwargs):
        generators.append(generator)
        return true_next(generator, *args, **kwargs)

    model = keras.Sequential([keras.Input((5,)), Unseeded(), layers.Dense(4)])
    with monkeypatch.context() as patched:
        patched.setattr(keras.random.SeedGenerator, "next", watched)
        keras.random.normal((2,))
    state = ops.convert_to_numpy(generators[0].state).copy()
    initialize(model, seed=0)
    np.testing.assert_array_equal(ops.convert_to_numpy(generators[0].state), state)
    keras.random.normal((2,))
    assert np.any(ops.convert_to_numpy(generators[0].state) != state)


@keras_initx.role("residual_end")
class End(layers.Dense):
    """Its result is added where the graph does not show it."""


def test_declared_ends_count_as_sums():
    x = inputs = keras.Input((8,))
    x = x + layers.Dense(8, name="seen")(layers.Dense(8, activation="tanh")(x))
    for number in range(3):
        x = End(8, name=f"end{number}")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = {site.path: site for site in weight_contexts(trace(model)).values()}
    assert {site.residuals for site in found.values()} == {4}
    numbers = {path: site.residual_number for path, site in found.items() if site.residual_number}
    assert numbers == {"seen": 1, "end0": 2, "end1": 3, "end2": 4}
    rows = {row.path: row for row in initialize(model, "residual", seed=0).rows}
    assert rows["end1/kernel"].target == pytest.approx(0.5)


def test_a_sum_after_a_declared_end_comes_after_it():
    inputs = keras.Input((8,))
    x = End(8, name="end")(inputs)
    x = x + layers.Dense(8, name="seen")(layers.Dense(8, activation="tanh")(x))
    found = weight_contexts(trace(keras.Model(inputs, layers.Dense(2)(x)))).values()
    assert {s.path: s.residual_number for s in found if s.residual_number} == {"end": 1, "seen": 2}
    assert {s.residuals for s in found} == {2}


@keras_initx.role("residual_end")
class Branches(layers.Layer):
    """Two branches whose sum is added where the graph does not show it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, activation="tanh", name="first")
        self.ends = [layers.Dense(8, name="left"), layers.Dense(8, name="right")]

    def call(self, x):
        x = self.first(x)
        return self.ends[0](x) + self.ends[1](x)


def test_a_role_above_a_composite_layer_is_that_of_its_last_weights():
    inputs = keras.Input((8,))
    x = Branches(name="one")(inputs)
    x = Branches(name="two")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    found = {s.path: s for s in weight_contexts(trace(model)).values()}
    numbers = {path: s.residual_number for path, s in found.items() if "residual_end" in s.roles}
    assert numbers == {"one/left": 1, "one/right": 1, "two/left": 2, "two/right": 2}
    assert {s.residuals for s in found.values()} == {2}
    plan = initialize(model, "residual", seed=0)
    targets = {row.path: row.target for row in plan.rows}
    assert [path for path, target in targets.items() if target == pytest.approx(0.5**0.5)] == [
        "one/left/kernel", "one/right/kernel", "two/left/kernel", "two/right/kernel",
    ]  # fmt: skip


@keras_initx.role("residual_end")
class Excited(layers.Layer):
    """Squeeze and excite: a signal, and a gate that multiplies it; and something beside."""

    def __init__(self, beside=False, **kwargs):
        super().__init__(**kwargs)
        self.first = layers.Dense(8, activation="tanh", name="first")
        self.signal = layers.Dense(8, name="signal")
        self.gate = layers.Dense(8, activation="sigmoid", name="gate")
        self.beside = layers.Dense(3, name="beside") if beside else None

    def call(self, x):
        y = self.signal(self.first(x))
        y = y * self.gate(y)
        return y if self.beside is None else (y, self.beside(y))


def test_a_declared_role_is_that_of_the_signal_and_not_of_its_gate():
    inputs = keras.Input((8,))
    first, beside = Excited(True, name="a")(inputs)
    model = keras.Model(inputs, [layers.Dense(2)(Excited(name="b")(first)), beside])
    found = weight_contexts(trace(model)).values()
    numbers = {s.path: s.residual_number for s in found if "residual_end" in s.roles}
    assert numbers == {"a/signal": 1, "b/signal": 2}


@keras_initx.role("residual_end")
class Twice(layers.Layer):
    """Gated twice, and returned beside a head of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(8, name=n) for n in ("signal", "gate1", "gate2")]
        self.head = layers.Dense(3, name="aux")

    def call(self, x):
        y = self.parts[0](x)
        for gate in self.parts[1:]:
            y = y * ops.sigmoid(gate(y))
        return {"y": y, "aux": self.head(y)}


def test_two_gates_and_a_head_beside():
    h = inputs = keras.Input((8,))
    heads = []
    for number in range(2):
        out = Twice(name=f"b{number}")(h)
        h = h + out["y"]
        heads.append(out["aux"])
    found = list(weight_contexts(trace(keras.Model(inputs, [layers.Dense(2)(h), *heads]))).values())
    numbers = {s.path: s.residual_number for s in found if "residual_end" in s.roles}
    assert numbers == {"b0/signal": 1, "b1/signal": 2}
    assert {s.residuals for s in found} == {2}


@pytest.mark.parametrize("method", ["auto", "gpn", "shaped"])
@pytest.mark.parametrize("how", [{"skip": "*/bias"}, {"only": "*/kernel"}])
def test_biases_that_are_left_out_stay(method, how):
    constant = keras.initializers.Constant(0.3)
    stack = [layers.Dense(8, activation="sigmoid", bias_initializer=constant) for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *stack, layers.Dense(2, bias_initializer=constant)])
    initialize(model, method, seed=0, **how)
    for layer in model.layers:
        np.testing.assert_array_equal(ops.convert_to_numpy(layer.bias), np.float32(0.3))


def test_a_declared_end_whose_sum_is_seen_counts_once():
    x = inputs = keras.Input((8,))
    for number in range(2):
        x = x + Excited(name=f"block{number}")(x)
    found = list(weight_contexts(trace(keras.Model(inputs, layers.Dense(2)(x)))).values())
    assert {s.residuals for s in found} == {2}
    numbers = {s.path: s.residual_number for s in found if s.residual_number}
    assert numbers == {"block0/signal": 1, "block1/signal": 2}


def test_a_variable_that_no_layer_has_is_left():
    x = keras.Input((4,))
    loose = keras.Variable(np.eye(4, 3, dtype="float32"))
    model = keras.Model(x, layers.Dense(2)(ops.matmul(x, loose)))
    assert len(initialize(model, seed=0).rows) == 1
    np.testing.assert_array_equal(ops.convert_to_numpy(loose), np.eye(4, 3))


def test_an_offset_in_front_of_the_head():
    stack = [layers.DepthwiseConv2D(3, padding="same", activation="relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((6, 6, 8)), *stack, layers.Flatten(), layers.Dense(4)])
    assert [row.scaled for row in initialize(model, "shaped", seed=0).rows] == pytest.approx([1] * 4, abs=0.5)


class OwnEmbedding(layers.Embedding):
    pass


class Table(layers.Layer):
    def build(self, shape):
        self.rows = self.add_weight(shape=(9, 4), initializer="uniform", name="rows")

    def call(self, ids):
        return ops.take(self.rows, ids, axis=0)


@pytest.mark.parametrize("layer", [lambda: OwnEmbedding(9, 4), Table])
def test_lookups_of_a_users_own(layer):
    x = keras.Input((5,), dtype="int32")
    lookup = layer()
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(lookup(x))))
    plan = initialize(model, seed=0)
    assert [row.roles for row in plan.rows] == [("embedding",), ("head",)]
    assert [row.scaled for row in plan.rows] == [1, 1]
    table = ops.convert_to_numpy(lookup.weights[0])
    assert np.sqrt(np.mean(table**2)) == pytest.approx(1, rel=0.2)


class Normed(layers.Layer):
    """A kernel that is normalized before it multiplies: the trace sees a constant made of it."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 3), name="kernel")

    def call(self, x):
        return ops.matmul(x, self.kernel / ops.norm(self.kernel, axis=0))


def test_a_matrix_that_the_graph_does_not_show_is_noted():
    x = keras.Input((5,))
    plan = initialize(keras.Model(x, layers.Dense(2)(Normed(name="own")(x))), seed=0)
    assert any("own/kernel" in note for note in plan.notes)


def test_lsuv_fills_the_window_of_a_convolution():
    model = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(8, 3), layers.Flatten(), layers.Dense(2)])
    x = np.random.default_rng(0).standard_normal((64, 6, 6, 4)).astype("float32")
    initialize(model, "lsuv", data=x, seed=0)
    matrix = ops.convert_to_numpy(model.layers[0].kernel).reshape(36, 8)
    gram = matrix.T @ matrix
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(8), atol=1e-4)


def chain(depth=8, head="out"):
    hidden = [layers.Dense(16, activation="gelu", name=f"h{n}") for n in range(depth)]
    return keras.Sequential([keras.Input((16,)), *hidden, layers.Dense(3, name=head)])


@pytest.mark.parametrize("how", ["skip", "frozen", "pretrained"])
def test_weights_are_paired_with_drawn_neighbours_only(how):
    model, options = chain(), {}
    if how == "skip":
        options["skip"] = "h3"
    elif how == "frozen":
        model.get_layer("h3").trainable = False
    else:
        given = layers.Dense(16, name="h3")
        options["pretrained"] = keras.Sequential([keras.Input((16,)), given])
    rows = {row.path.split("/")[-2]: row for row in initialize(model, seed=0, **options).rows}
    assert rows["h3"].method in ("kept", "frozen", "pretrained")
    kernels = {layer.name: ops.convert_to_numpy(layer.kernel) for layer in model.layers}

    def opposite(a):
        return bool(np.allclose(a[0::2], -a[1::2], atol=1e-6))

    ins = {name for name, kernel in kernels.items() if opposite(kernel)}
    outs = {name for name, kernel in kernels.items() if opposite(kernel.T)}
    assert outs == {"h0", "h1", "h4", "h5", "h6", "h7"}
    assert ins == {"h1", "h2", "h5", "h6", "h7", "out"}
    for name in outs:
        assert "opposite units" in rows[name].reason


def test_a_new_head_on_a_pretrained_body_is_not_paired():
    model = chain(head="new")
    plan = initialize(model, pretrained=chain(), seed=0)
    drawn = [row for row in plan.rows if row.method != "pretrained"]
    assert [row.method for row in drawn] == ["variance"]
    kernel = ops.convert_to_numpy(model.layers[-1].kernel)
    assert not np.allclose(kernel[0::2], -kernel[1::2], atol=1e-3)
