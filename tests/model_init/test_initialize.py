"""Check what `initialize` leaves untouched: other state, random generators, and the model after an error."""

import contextlib
import itertools
import random

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_initx
from keras_initx import InitxError, initialize
from tests.support import zoo
from tests.support.networks import plain
from tests.support.recorder import same, values


def test_it_is_public():
    assert keras_initx.initialize is initialize
    assert {"initialize", "Plan", "PlanRow", "role"} <= set(keras_initx.__all__)


class TestUntouched:
    def test_state(self):
        model = zoo.residual_cnn(blocks=1)
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
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

    def test_frozen_layers_are_left_as_they_are(self):
        model = plain()
        model.layers[2].trainable = False
        before = ops.convert_to_numpy(model.layers[2].kernel).copy()
        plan = initialize(model, seed=1)
        assert np.array_equal(before, ops.convert_to_numpy(model.layers[2].kernel))
        assert [row.method for row in plan.rows].count("frozen") == 1

    @pytest.mark.parametrize("selection", [{}, {"only": "frozen"}, {"skip": "free"}])
    def test_nothing_but_frozen_layers_is_an_error(self, selection):
        hidden = [layers.Dense(4, name="frozen", trainable=False), layers.Dense(4, trainable=False)]
        free = layers.Dense(4, name="free", trainable=bool(selection))
        model = keras.Sequential([keras.Input((4,)), *hidden, free])
        message = (
            r"^Every weight to draw of `model` .* is frozen: .*frozen/kernel.*Set layer.trainable = True"
        )
        with pytest.raises(InitxError, match=message):
            initialize(model, seed=1, **selection)
        plan = initialize(model, seed=1, dry_run=True, **selection)
        assert [row.method for row in plan.rows][:2] == ["frozen", "frozen"]


class TestSeeds:
    def drawn(self, seed, names=None):
        keras.utils.clear_session()
        model = zoo.vit(blocks=1, width=16, size=16)
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


class Queries(layers.Layer):
    """Learned queries that start at zero."""

    def build(self, shape):
        self.queries = self.add_weight(name="queries", shape=(1, 4, 16), initializer="zeros")

    def call(self, x):
        return ops.broadcast_to(self.queries, (ops.shape(x)[0], 4, 16))

    def compute_output_shape(self, shape):
        return (shape[0], 4, 16)


class TestZeroOnTheWay:
    """A zero that a model starts with stays, and the weights that read it are drawn for inputs of size 1."""

    def test_a_gain_of_zero(self):
        x = keras.Input((16, 16, 3))
        h = layers.Conv2D(8, 3, name="first")(x)
        h = layers.BatchNormalization(gamma_initializer="zeros", name="zero")(h)
        h = layers.Conv2D(32, 3, name="second")(h)
        model = keras.Model(x, layers.Dense(4, name="out")(layers.Flatten()(h)))
        plan = initialize(model, seed=0)
        first, second, out = plan.rows
        assert first.rms_after == 1
        assert (second.rms_before, second.rms_after, second.target) == (0, 0, None)
        assert plan.notes == ("second/kernel (and 1 more): " + out.reason,)
        assert "reads zeros" in out.reason
        # The mean square of an entry times the number of inputs: the output for inputs of size 1.
        for row in (second, out):
            assert row.gain == pytest.approx(1, abs=0.15)
        assert not np.any(ops.convert_to_numpy(model.get_layer("zero").gamma))
        x = np.random.default_rng(0).normal(size=(64, 16, 16, 3)).astype("float32")
        assert not np.any(ops.convert_to_numpy(model(x)))

    def test_a_residual_end_keeps_its_factor(self):
        x = keras.Input((32,))
        h = x
        for n in range(4):
            zeros = layers.LayerNormalization(gamma_initializer="zeros")(h)
            h = h + layers.Dense(32, name=f"end{n}")(zeros)
        plan = initialize(keras.Model(x, layers.Dense(2)(h)), seed=0)
        ends = [row for row in plan.rows if "residual_end" in row.roles]
        assert [row.gain for row in ends] == pytest.approx([1 / 4] * 4, rel=0.15)

    def test_queries_of_zero(self):
        x = keras.Input((8, 16))
        q = layers.LayerNormalization()(Queries()(x))
        h = q + layers.MultiHeadAttention(2, 8, name="self")(q, q)
        h = h + layers.MultiHeadAttention(2, 8, name="cross")(h, x)
        plan = initialize(keras.Model(x, layers.Dense(3, name="out")(h)), seed=0)
        rows = {row.path: row for row in plan.rows}
        assert "reads zeros" in rows["self/query/kernel"].reason
        # The image's part of the signal arrives, so these are measured.
        for path in ("cross/key/kernel", "cross/value/kernel", "out/kernel"):
            assert rows[path].rms_after == 1
        assert sum("reads zeros" in note for note in plan.notes) == 1

    @pytest.mark.parametrize("size", [1.0, 1e-2, 1e-4, 1e-5, 1e-8, 1e-12])
    def test_a_frozen_layer_that_loses_the_signal(self, size):
        """No weight becomes huge in silence: a millionth is not scaled up, and a thousandth is noted."""
        x = keras.Input((16,))
        h = layers.Dense(16, kernel_initializer=keras.initializers.Identity(size), trainable=False)(x)
        plan = initialize(keras.Model(x, layers.Dense(64, name="out")(h)), seed=0)
        out = plan.rows[-1]
        if size < 1e-6:
            assert "reads almost zeros" in out.reason
            assert out.gain == pytest.approx(1, abs=0.15)
            assert out.rms_after == pytest.approx(size, rel=0.2)
        else:
            assert out.rms_after == 1
            assert out.gain == pytest.approx(size**-2, rel=0.2)
        assert any(note.startswith("out/kernel: reads") for note in plan.notes) is (size < 1e-3)

    @pytest.mark.parametrize("unit", [1e-9, 1e9])
    def test_data_in_another_unit_are_scaled(self, unit):
        x = keras.Input((8,)), keras.Input((8,))
        small = layers.Dense(8, name="small")(x[0])
        large = layers.Dense(8, name="large")(layers.Rescaling(1 / unit)(x[1]))
        model = keras.Model(x, layers.Dense(2, name="out")(small + large))
        values = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
        plan = initialize(model, data=(1e-9 * values, unit * values), seed=0)
        assert all(row.rms_after == row.target > 0.5 for row in plan.rows)
        assert plan.notes == ()

    def test_data_of_zeros_are_an_error(self):
        x = keras.Input((4,))
        model = keras.Model(x, layers.Dense(2, name="one")(x))
        with pytest.raises(InitxError, match=r"^one/kernel: its output is all zeros on this data"):
            initialize(model, data=np.zeros((8, 4), "float32"))


class TestAtomic:
    def test_an_error_restores_the_model(self):
        model = zoo.residual_cnn(blocks=2)
        before, call, assign = values(model), keras.Layer.__call__, keras.Variable.assign
        for error, at in itertools.product([RuntimeError, KeyboardInterrupt, MemoryError], [1, 4, 9, 20]):
            count = 0

            def failing_assign(variable, value, error=error, at=at):
                nonlocal count
                count += 1
                if count == at:
                    raise error("no")
                return assign(variable, value)

            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(keras.Variable, "assign", failing_assign)
                with pytest.raises(error):
                    initialize(model, "residual", seed=1)
            assert count > at
            assert same(before, model)
            assert keras.Layer.__call__ is call

    def test_an_output_that_is_not_finite_restores_the_model(self):
        x = keras.Input((4,))
        dead = layers.Rescaling(np.inf)(layers.Dense(4, name="first")(x))
        model = keras.Model(x, layers.Dense(3, name="second")(dead))
        before = values(model)
        with pytest.raises(
            InitxError,
            match=r"^second/kernel: its output is not finite on noise, so it cannot .*skip='second/kernel'",
        ):
            initialize(model, seed=1)
        assert same(before, model)

    def test_dry_run(self):
        model = zoo.vit(blocks=1)
        before = values(model)
        plan = initialize(model, seed=1, dry_run=True)
        assert same(before, model)
        assert plan.dry_run
        assert "would initialize" in plan.summary()
        assert [r.rms_before for r in plan.rows] == [r.rms_before for r in initialize(model, seed=1).rows]


def test_a_dry_run_shows_what_the_next_call_does():
    keras.utils.set_random_seed(3)
    model = plain(3)
    announced = initialize(model, dry_run=True)
    assert [row.rms_before for row in initialize(model).rows] == [row.rms_before for row in announced.rows]


class Noisy(layers.Layer):
    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        return x + keras.random.normal(ops.shape(x), seed=self.generator)


@pytest.mark.parametrize("fails", [False, True])
def test_generators_and_states_stay(fails):
    cell, noisy = layers.GRU(4, stateful=True), Noisy()
    end = [layers.Rescaling(np.inf), layers.Dense(2)] if fails else [layers.Dense(2)]
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 6)), noisy, cell, *end])
    kept = [ops.convert_to_numpy(v).copy() for v in (noisy.generator.state, *cell.states)]
    with pytest.raises(InitxError) if fails else contextlib.nullcontext():
        initialize(model, seed=0)
    for variable, value in zip((noisy.generator.state, *cell.states), kept, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)


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
