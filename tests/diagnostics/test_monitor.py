"""`SignalMonitor` writes the figures of `diagnose`, and training proceeds as without it."""

import copy
import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata
from tensorboard.util.tensor_util import make_ndarray

from keras_initx import InitxError, SignalMonitor, diagnose


def labelled_data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(96, 8)).astype("float32"), rng.integers(0, 4, 96)


@pytest.fixture
def data():
    return labelled_data()


def network(jit_compile=False, run_eagerly=False):
    keras.utils.set_random_seed(5)
    hidden = [
        layers.Dense(12, "relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Dense(12, "tanh"),
    ]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(4, "softmax")])
    options = {"jit_compile": jit_compile, "run_eagerly": run_eagerly}
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def events(folder):
    """Return the (step, value) pairs of each tag in a run."""
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [(e.step, make_ndarray(e.tensor_proto)) for e in accumulator.Tensors(tag)]
        for tag in accumulator.Tags()["tensors"]
    }


def fit(model, data, *monitors, epochs=2):
    keras.utils.set_random_seed(6)
    return model.fit(*data, epochs=epochs, batch_size=16, verbose=0, callbacks=list(monitors)).history


class TestTraining:
    @pytest.mark.parametrize("jit_compile", [True, False])
    def test_training_proceeds_as_without_a_monitor(self, data, tmp_path, jit_compile):
        plain, watched = network(jit_compile), network(jit_compile)
        monitor = SignalMonitor(tmp_path, every=3, data=data)
        assert fit(plain, data) == fit(watched, data, monitor)
        for a, b in zip(plain.variables, watched.variables, strict=True):
            if "seed" not in a.path:
                np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
        # 12 steps: one measurement at the start and one after every third step, the last of them at the end.
        assert monitor.measured == 1 + 4

    def test_a_model_that_fit_builds_is_measured_after_its_first_step(self, data, tmp_path):
        model = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(4, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
        monitor = SignalMonitor(tmp_path, every=3, data=data)
        fit(model, data, monitor, epochs=1)
        assert model.built
        run = events(tmp_path)
        (tag,) = (tag for tag in run if tag.startswith("signal std/001"))
        # JAX's trainer builds the model before it calls the callbacks.
        first = 0 if keras.backend.backend() == "jax" else 1
        assert [step for step, _ in run[tag]] == [first, 3, 6]

    def test_a_copy_for_each_trial(self, data, tmp_path):
        monitor = SignalMonitor(tmp_path, every=4, data=data)
        keras.utils.clear_session()
        fit(network(run_eagerly=True), data, monitor, epochs=1)
        twin = copy.deepcopy(monitor)
        assert twin.measured == 0
        assert twin._settings[1] is data
        keras.utils.clear_session()
        fit(network(run_eagerly=True), data, twin, epochs=1)
        assert twin.measured == monitor.measured == 3
        # Two trainings are two runs, not one run with two values at each step.
        assert events(tmp_path).keys() == events(tmp_path / "fit_2").keys()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the first kernel and the diagnosis before a monitored training, and the training's events."""
    folder, data, model = tmp_path_factory.mktemp("run"), labelled_data(), network()
    kernel = ops.convert_to_numpy(model.layers[0].kernel).copy()
    report = diagnose(model, *(part[:16] for part in data))
    fit(model, data, SignalMonitor(folder, every=100, data=data, window=1))
    return kernel, report, events(folder)


@pytest.mark.one_backend
class TestEvents:
    def test_scalars_are_the_figures_of_diagnose(self, run):
        _, report, tags = run
        for row in report.rows:
            name = f"{row.number:03d} {row.path}"
            assert tags[f"signal std/{name}"][0] == (0, pytest.approx(row.std, rel=1e-5))
            assert tags[f"gradient rms/{name}"][0] == (0, pytest.approx(row.gradient_rms, rel=1e-5))
            assert tags[f"sample cosine/{name}"][0] == (
                0,
                pytest.approx(row.sample_cosine, rel=1e-5, abs=1e-7),
            )
            assert tags[f"kernel gradient rms/{name}"][0] == (
                0,
                pytest.approx(row.kernel_gradient, rel=1e-5),
            )
            assert [step for step, _ in tags[f"signal std/{name}"]] == [0, 12]

    def test_custom_scalars_have_a_chart_for_each_figure(self, run):
        _, _, tags = run
        ((_, page),) = tags[metadata.CONFIG_SUMMARY_TAG]
        (category,) = layout_pb2.Layout.FromString(page.item()).category
        patterns = [pattern for chart in category.chart for pattern in chart.multiline.tag]
        assert len(patterns) == 5
        for pattern in patterns:
            # Dead units are counted for two of the three layers: no activation follows the last.
            assert sum(bool(re.match(pattern, tag)) for tag in tags) in (2, 3)

    def test_histograms_count_the_weights(self, run):
        kernel, report, tags = run
        path = report.rows[0].path
        bins = tags[f"weights/001 {path}"][0][1]
        expected, edges = np.histogram(kernel, bins=32)
        np.testing.assert_allclose(bins[:, 0], edges[:-1], rtol=1e-4, atol=1e-6)
        # An entry at an edge may fall on either side of it.
        assert np.abs(bins[:, 2] - expected).sum() <= 4
        assert bins[:, 2].sum() == kernel.size
        for kind in ("pre-activations", "gradients"):
            assert tags[f"{kind}/001 {path}"][0][1].shape == (32, 3)

    def test_equal_values_are_one_bin(self, data, tmp_path):
        model = network(run_eagerly=True)
        model.layers[0].kernel.assign(ops.zeros((8, 12)))
        fit(model, data, SignalMonitor(tmp_path, every=100, data=data), epochs=1)
        bins = events(tmp_path)[f"weights/001 {model.layers[0].path}"][0][1]
        assert bins[:, 2].max() == 96
        assert bins[0, 0] == -0.5

    def test_a_unit_is_dead_if_it_is_dead_in_the_whole_window(self, tmp_path):
        # Unit 0 never fires; unit 1 fires on one sample, in one of four batches.
        x = np.zeros((64, 2), "float32")
        x[:, 0] = np.linspace(1, 2, 64)
        x[50, 1] = 1
        model = keras.Sequential([keras.Input((2,)), layers.Dense(4, "relu"), layers.Dense(1)])
        model.layers[0].kernel.assign([[-1, 0, 1, 1], [0, 1, 0, 0]])
        model.compile(keras.optimizers.SGD(0.0), "mse", run_eagerly=True)
        y = np.zeros((64, 1), "float32")
        monitor = SignalMonitor(tmp_path, every=1, data=(x, y), samples=16, window=4, histograms=False)
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[monitor])
        tags = events(tmp_path)
        shares = [float(value) for _, value in tags[f"dead units/001 {model.layers[0].path}"]]
        assert shares[0] == 0.5
        # Unit 1 is alive from the batch with its sample on, while the window contains that batch.
        assert shares[-1] == 0.25
        assert not any(tag.startswith("weights") for tag in tags)


@pytest.mark.one_backend
class TestOptions:
    def test_without_data_it_measures_noise_and_a_projection(self, data, tmp_path):
        monitor = SignalMonitor(tmp_path, every=100)
        fit(network(run_eagerly=True), data, monitor, epochs=1)
        assert all(row.gradient_rms > 0 for row in monitor.rows)

    def test_the_time_share_sets_the_interval(self, data, tmp_path, monkeypatch):
        # With an infinite share the next measurement is always due.
        monkeypatch.setattr("keras_initx.diagnostics.monitor.TIME_SHARE", np.inf)
        monitor = SignalMonitor(tmp_path, data=data)
        fit(network(run_eagerly=True), data, monitor, epochs=1)
        assert monitor.measured == 1 + 6

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"every": 0}, "^`every` must be None or an integer >= 1, got 0"),
            ({"samples": 1}, "^`samples` must be an integer >= 2, got 1"),
            ({"window": 1.5}, "^`window` must be an integer >= 1, got 1.5"),
        ],
    )
    def test_bad_numbers(self, tmp_path, options, message):
        with pytest.raises(InitxError, match=message):
            SignalMonitor(tmp_path, **options)

    def test_a_folder_that_is_a_file(self, data, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InitxError, match=r"^`log_dir` '.*file' cannot be written to "):
            fit(network(run_eagerly=True), data, SignalMonitor(tmp_path / "file", data=data))

    def test_too_few_targets(self, data, tmp_path):
        with pytest.raises(InitxError, match=r"^`x` has 96 samples, but there are 9 targets"):
            fit(network(run_eagerly=True), data, SignalMonitor(tmp_path, data=(data[0], data[1][:9])))
        assert not list(tmp_path.iterdir())
