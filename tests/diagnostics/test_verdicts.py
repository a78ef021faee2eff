"""Bad starts get the right verdict, and good ones get none."""

import math

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_initx import PriorBias, initialize
from keras_initx.diagnostics import diagnose
from tests.support import zoo
from tests.support.networks import data, dense

pytestmark = pytest.mark.one_backend


class TestVerdicts:
    @pytest.mark.parametrize(
        ("kernel", "activation", "verdict"),
        [
            ("zeros", "tanh", "symmetric"),
            (keras.initializers.RandomNormal(stddev=1e-3, seed=1), "tanh", "vanishing"),
            (keras.initializers.RandomNormal(stddev=30.0, seed=1), "relu", "exploding"),
            (keras.initializers.RandomNormal(stddev=9.0, seed=1), "tanh", "saturated"),
            (keras.initializers.Constant(0.3), "relu", "symmetric"),
            (keras.initializers.RandomUniform(-1, -0.5, seed=1), "relu", "dead"),
        ],
    )
    def test_a_bad_start_gets_its_verdict(self, kernel, activation, verdict):
        report = diagnose(dense(kernel=kernel, activation=activation, depth=6), np.abs(data(32, 8)) + 0.1)
        assert not report.healthy
        assert verdict in {finding.verdict for finding in report.findings}, report.summary()
        assert any(verdict in row.verdicts for row in report.rows)
        assert verdict in report.summary()

    @pytest.mark.usefixtures("compiled_pass")
    def test_nan_is_reported_at_the_layer_where_it_begins(self):
        model = dense(depth=4)
        kernel = ops.convert_to_numpy(model.layers[2].kernel).copy()
        kernel[0, 0] = np.nan
        model.layers[2].kernel.assign(kernel)
        report = diagnose(model, data(16, 8))
        assert report.findings[0].verdict == "non-finite"
        assert report.findings[0].path == model.layers[2].kernel.path

    def test_deep_sigmoids_make_all_inputs_look_alike(self):
        model = dense(activation="sigmoid", kernel="glorot_uniform", depth=30, width=64)
        assert "inputs alike" in diagnose(model, data(32, 8)).rows[-1].verdicts

    @pytest.mark.parametrize("is_held", [True, False])
    def test_an_output_that_its_bias_holds_is_not_alike(self, is_held):
        # The start of a detector: small kernels, and a prior far below 0.
        small = keras.initializers.RandomNormal(stddev=0.05, seed=1)
        prior = keras.initializers.Constant(-10.0)
        # A large bias makes the inputs of the output layer alike as well.
        bias = keras.initializers.Constant(0.0 if is_held else 100.0)
        x = keras.Input((8,))
        h = layers.Dense(16, "relu", kernel_initializer="he_normal")(x)
        h = layers.Dense(16, "relu", kernel_initializer=small)(h)
        h = layers.Dense(16, "relu", kernel_initializer=small, bias_initializer=bias)(h)
        model = keras.Model(x, layers.Dense(1, kernel_initializer=small, bias_initializer=prior)(h))
        row = diagnose(model, data(32, 8)).rows[-1]
        assert row.spread < 1e-3 * math.sqrt(row.second_moment)
        assert ("inputs alike" in row.verdicts) != is_held

    def test_units_that_a_level_of_the_inputs_turns_off_by_chance_are_not_dead(self):
        # Inputs around 10 decide the sign of a unit: half of them are always off, more in some layer.
        x = h = keras.Input((30,))
        ends = []
        for branch in range(6):
            h = x
            for layer in range(4):
                own = keras.initializers.GlorotUniform(seed=4 * branch + layer)
                h = layers.Dense(64, "relu", kernel_initializer=own)(h)
            ends.append(h)
        own = keras.initializers.GlorotUniform(seed=99)
        model = keras.Model(x, layers.Dense(10, kernel_initializer=own)(layers.Add()(ends)))
        report = diagnose(model, 10 + data(64, 30))
        assert max(row.dead for row in report.rows) > 0.5
        assert report.healthy, report.summary()

    @pytest.mark.parametrize("w0", [1.0, 30.0])
    @pytest.mark.parametrize(
        ("periods", "is_healthy"), [(1 / (2 * math.pi), True), (0.8, True), (1.2, False), (3.0, False)]
    )
    def test_sines_of_random_phases_explode(self, w0, periods, is_healthy):
        # By Sitzmann et al. 2020, hidden limits of sqrt(6 / n) / w0 give w0 z a std of 1, a period / (2 pi).
        limit = 2 * math.pi * periods * math.sqrt(6 / 64) / w0
        x = h = keras.Input((2,))
        for number in range(3):
            # The first layer spreads coordinates over the periods, as far as it likes.
            own = keras.initializers.RandomUniform(*((-limit, limit) if number else (-1, 1)), seed=number)
            h = layers.Dense(64, lambda z: ops.sin(w0 * z), kernel_initializer=own)(h)
        own = keras.initializers.RandomUniform(-math.sqrt(6 / 64) / w0, math.sqrt(6 / 64) / w0, seed=9)
        model = keras.Model(x, layers.Dense(1, kernel_initializer=own)(h))
        coordinates = np.random.default_rng(0).uniform(-1, 1, (256, 2)).astype("float32")
        report = diagnose(model, coordinates)
        assert report.healthy == is_healthy, report.summary()
        if not is_healthy:
            found = {row.number for row in report.rows if row.verdicts == ("exploding",)}
            assert 3 in found <= {2, 3}
            assert "initialize(model)" in report.summary()
            initialize(model, seed=0)
            assert diagnose(model, coordinates).healthy

    @pytest.mark.parametrize("seed", range(4))
    def test_units_that_read_one_positive_number_are_off_by_chance(self, seed):
        """All that differs between samples is a factor, so half of the units are off for each of them."""
        x = h = keras.Input((1,))
        for n in range(2):
            own = keras.initializers.GlorotUniform(seed=10 * seed + n)
            h = layers.Dense(64, "relu", kernel_initializer=own)(h)
        own = keras.initializers.GlorotUniform(seed=seed)
        model = keras.Model(x, layers.Dense(1, kernel_initializer=own)(h))
        times = np.random.default_rng(0).uniform(size=(64, 1)).astype("float32")
        assert "dead" not in {v for row in diagnose(model, times).rows for v in row.verdicts}

    @pytest.mark.parametrize("reads", ["alike", "differs"])
    def test_what_an_output_reads_is_seen_in_the_graph(self, reads):
        x = keras.Input((8,))
        alike = layers.Dense(
            16, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-6), bias_initializer="ones"
        )
        branches = {"alike": alike, "differs": layers.Dense(16)}
        # The other branch is the row before.
        order = sorted(branches, key=lambda name: name != reads)
        signals = {name: branches[name](x) for name in order}
        held = layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-5, seed=1))
        held.build((None, 16))
        held.bias.assign([1.0])
        model = keras.Model(x, [layers.Dense(2)(signals[order[1]]), held(signals[reads])])
        row = next(r for r in diagnose(model, data(32, 8)).rows if r.path.endswith(held.name))
        assert row.spread < 1e-3 * math.sqrt(row.second_moment)
        assert row.reads_differences == (reads == "differs")

    def test_an_initialized_model_is_healthy(self):
        model = dense(activation="tanh", kernel="zeros", depth=50, width=64)
        assert not diagnose(model, data(32, 8)).healthy
        initialize(model, seed=0)
        report = diagnose(model, data(32, 8))
        assert report.healthy, report.summary()

    @pytest.mark.parametrize("scale", [1e9, 1e-9])
    def test_an_initialized_model_is_not_to_be_initialized_again(self, scale):
        model = dense(activation="relu", kernel="glorot_uniform", depth=6)
        x = scale * data(32, 8)
        advice = "ry initialize(model)"
        assert advice in diagnose(model, x).summary()
        # For inputs near 1, so the same data are as far off as before.
        initialize(model, seed=0)
        report = diagnose(model, x)
        assert not report.healthy
        assert advice not in report.summary()
        assert "initialize(model) has drawn these weights already" in report.summary()

    @pytest.mark.parametrize("build", [zoo.vit, zoo.unet, zoo.residual_cnn, zoo.subclassed])
    def test_networks_that_train_are_healthy(self, build):
        model = build()
        initialize(model, seed=0)
        x = data(8, 12) if build is zoo.subclassed else data(8, *model.input_shape[1:])
        report = diagnose(model, x)
        assert report.healthy, report.summary()

    def test_an_input_scale_far_from_one_is_reported(self):
        model = dense(activation="relu", depth=6)
        report = diagnose(model, 1e5 * data(32, 8))
        assert report.findings[0].verdict == "input scale"
        assert "call initialize(model, data=x)." in report.summary()
        initialize(model, data=1e5 * data(32, 8), seed=0)
        assert diagnose(model, 1e5 * data(32, 8)).healthy

    def test_advice_comes_with_the_figures(self):
        model = dense(kernel=keras.initializers.RandomNormal(stddev=1e-4, seed=1), depth=6)
        text = diagnose(model, data(32, 8)).summary()
        assert "pre-activation std" in text
        assert f"`{model.layers[5].path}` (and 6 more), vanishing: pre-activation std " in text
        assert "at the last layer). Try initialize(model)." in text

    @pytest.mark.usefixtures("compiled_pass")
    @pytest.mark.parametrize("targets", [True, False])
    def test_gradients_pass_a_batch_normalization(self, targets):
        inputs = keras.Input((8,))
        h = layers.BatchNormalization()(layers.Dense(16, "relu")(inputs))
        h = layers.BatchNormalization()(layers.Dense(16, "relu")(h))
        model = keras.Model(inputs, layers.Dense(1)(h))
        model.compile("sgd", "mse")
        report = diagnose(model, data(32, 8), data(32, 1, seed=1) if targets else None)
        assert report.healthy, report.summary()
        assert report.rows[0].gradient_rms > 0.01 * report.rows[-1].gradient_rms

    @pytest.mark.parametrize("kind", ["regression", "last layer", "branch", "gate", "prior", "one unit"])
    def test_intended_starts_are_healthy(self, kind):
        inputs = keras.Input((8,))
        h = layers.Dense(16, "relu", kernel_initializer="he_normal")(inputs)
        zeros = {"kernel_initializer": "zeros"}
        if kind == "regression":
            outputs = layers.Dense(5, "softmax", **zeros)(inputs)
        elif kind == "last layer":
            outputs = layers.Dense(5, "softmax", **zeros)(h)
        elif kind == "branch":
            for _ in range(3):
                inner = layers.Dense(16, "relu", kernel_initializer="he_normal")(h)
                h = layers.add([h, layers.Dense(16, **zeros)(inner)])
            outputs = layers.Dense(5)(h)
        elif kind == "gate":
            for _ in range(3):
                inner = layers.Dense(16, "relu", kernel_initializer="he_normal")(h)
                inner = layers.BatchNormalization(gamma_initializer="zeros")(layers.Dense(16)(inner))
                h = layers.add([h, inner])
            outputs = layers.Dense(5)(h)
        else:
            bias = keras.initializers.Constant(-4.6 if kind == "prior" else 22.5)
            outputs = layers.Dense(1, "sigmoid" if kind == "prior" else None, bias_initializer=bias)(h)
        report = diagnose(keras.Model(inputs, outputs), data(32, 8))
        assert report.healthy, report.summary()

    def test_tiny_and_huge_signals_are_measured_correctly(self):
        model = dense(activation="relu", depth=3)
        plain = diagnose(model, data(32, 8))
        for scale in (1e-18, 1e18):
            scaled = diagnose(model, scale * data(32, 8))
            for a, b in zip(plain.rows, scaled.rows, strict=True):
                assert b.std == pytest.approx(scale * a.std, rel=1e-3)
                assert b.effective_rank == pytest.approx(a.effective_rank, rel=1e-3)
                assert b.sample_cosine == pytest.approx(a.sample_cosine, rel=1e-3, abs=1e-5)
                assert "non-finite" not in b.verdicts

    def test_inputs_that_the_model_rescales_itself_are_no_input_scale(self):
        bad = keras.initializers.RandomNormal(stddev=1e-4, seed=1)
        stem = [keras.Input((8,)), layers.Rescaling(1 / 255)]
        model = keras.Sequential([*stem, *(layers.Dense(24, kernel_initializer=bad) for _ in range(5))])
        verdicts = {f.verdict for f in diagnose(model, 255 * data(32, 8)).findings}
        assert "vanishing" in verdicts
        assert "input scale" not in verdicts


class TestZeroKernels:
    """Kernels of zeros that the first training steps open."""

    @pytest.mark.parametrize("activation", [None, "sigmoid"])
    def test_an_output_of_one_unit(self, activation):
        inputs = keras.Input((8,))
        h = layers.Dense(32, "relu")(inputs)
        report = diagnose(
            keras.Model(inputs, layers.Dense(1, activation, kernel_initializer="zeros")(h)), data(16, 8)
        )
        assert report.healthy, report.summary()

    def test_a_branch_of_a_model_whose_output_is_closed_too(self):
        inputs = keras.Input((8,))
        h = layers.Dense(16)(inputs)
        for _ in range(2):
            branch = layers.Dense(16, "relu")(layers.LayerNormalization()(h))
            h = layers.Add()([h, layers.Dense(16, kernel_initializer="zeros")(branch)])
        report = diagnose(keras.Model(inputs, layers.Dense(3, kernel_initializer="zeros")(h)), data(16, 8))
        assert not {"symmetric", "dead"} & {f.verdict for f in report.findings}, report.summary()

    @pytest.mark.parametrize("loss", ["binary_crossentropy", "binary_focal_crossentropy"])
    @pytest.mark.parametrize("with_targets", [True, False])
    def test_an_output_at_the_prior_of_a_rare_class(self, loss, with_targets):
        rare = PriorBias(class_counts=[9980, 20])
        head = layers.Dense(1, "sigmoid", bias_initializer=rare)
        model = keras.Sequential([keras.Input((8,)), layers.Dense(16, "relu"), head])
        model.compile("adam", loss)
        y = (np.arange(64) == 5).astype("float32")
        report = diagnose(model, data(64, 8), y[:, None] if with_targets else None)
        assert report.healthy, report.summary()

    def test_a_trained_output_is_right_and_not_saturated(self):
        x = data(64, 8)
        y = (x[:, :1] > 0).astype("float32")
        head = layers.Dense(1, "sigmoid", use_bias=False)
        model = keras.Sequential([keras.Input((8,)), head])
        model.compile("sgd", "binary_crossentropy")
        head.kernel.assign(1e3 * np.eye(8, 1))
        assert not diagnose(model, x, y).rows[0].verdicts
        # The same output is wrong for the opposite targets.
        assert diagnose(model, x, 1 - y).rows[0].verdicts == ("saturated",)
        assert diagnose(model, x).rows[0].verdicts == ("saturated",)

    def test_a_gate_that_starts_open_for_all_samples(self):
        # The spatial gating unit of gMLP (Liu et al. 2021, arXiv 2105.08050, section 2.1).
        inputs = h = keras.Input((6, 8))
        for _ in range(2):
            branch = layers.Dense(16, "gelu")(layers.LayerNormalization()(h))
            gate = layers.Permute((2, 1))(layers.LayerNormalization()(branch[..., 8:]))
            near_zero = keras.initializers.TruncatedNormal(stddev=1e-6)
            gate = layers.Dense(6, kernel_initializer=near_zero, bias_initializer="ones")(gate)
            h = h + layers.Dense(8)(branch[..., :8] * layers.Permute((2, 1))(gate))
        model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling1D()(h)))
        report = diagnose(model, data(16, 6, 8))
        assert not any(row.verdicts for row in report.rows), report.summary()

    @pytest.mark.parametrize("trainable", [True, False])
    def test_branches_that_a_gain_of_zero_closes(self, trainable):
        # Without a stem no layer before the head receives a gradient (Goyal et al. 2017, arXiv 1706.02677).
        inputs = h = keras.Input((8,))
        for _ in range(2):
            branch = layers.Dense(8)(layers.Dense(16, "relu")(h))
            closed = layers.BatchNormalization(gamma_initializer="zeros", trainable=trainable)
            h = layers.ReLU()(h + closed(branch))
        report = diagnose(keras.Model(inputs, layers.Dense(3)(h)), data(16, 8))
        assert [row.gradient_rms for row in report.rows[:-1]] == [0, 0, 0, 0]
        assert report.healthy == trainable, report.summary()

    def test_zeros_in_consecutive_layers_are_symmetric(self):
        inputs = keras.Input((8,))
        h = layers.Dense(16, "sigmoid", kernel_initializer="zeros")(layers.Dense(16, "tanh")(inputs))
        report = diagnose(keras.Model(inputs, layers.Dense(3, kernel_initializer="zeros")(h)), data(16, 8))
        assert "symmetric" in {f.verdict for f in report.findings}
