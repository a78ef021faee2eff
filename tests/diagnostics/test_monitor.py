"""What `SignalMonitor` writes is what `diagnose` finds, and the training does not notice."""

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


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(96, 8)).astype("float32"), rng.integers(0, 4, 96)


def network(jit_compile=True):
    keras.utils.set_random_seed(5)
    hidden = [
        layers.Dense(12, "relu"),
        layers.BatchNormalization(),
        layers.Dropout(0.3),
        layers.Dense(12, "tanh"),
    ]
    model = keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(4, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit_compile)
    return model


def events(folder):
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    found.Reload()
    return {
        tag: [(e.step, make_ndarray(e.tensor_proto)) for e in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
    }


def fit(model, data, *monitors, epochs=2):
    keras.utils.set_random_seed(6)
    return model.fit(*data, epochs=epochs, batch_size=16, verbose=0, callbacks=list(monitors)).history


class TestTraining:
    @pytest.mark.parametrize("jit_compile", [True, False])
    def test_it_goes_on_as_if_there_were_none(self, data, tmp_path, jit_compile):
        plain, watched = network(jit_compile), network(jit_compile)
        monitor = SignalMonitor(tmp_path, every=3, data=data)
        assert fit(plain, data) == fit(watched, data, monitor)
        for a, b in zip(plain.variables, watched.variables, strict=True):
            if "seed" not in a.path:
                np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))
        # 12 steps: at the start, and after every third, of which the last is the end.
        assert monitor.measured == 1 + 4

    def test_a_model_that_fit_builds_is_measured_from_its_first_step_on(self, data, tmp_path):
        model = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(4, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        monitor = SignalMonitor(tmp_path, every=3, data=data)
        fit(model, data, monitor, epochs=1)
        assert model.built
        (tag,) = (tag for tag in events(tmp_path) if tag.startswith("signal std/001"))
        # JAX's trainer builds it before the callbacks are told.
        first = 0 if keras.backend.backend() == "jax" else 1
        assert [step for step, _ in events(tmp_path)[tag]] == [first, 3, 6]

    def test_a_copy_for_each_trial(self, data, tmp_path):
        monitor = SignalMonitor(tmp_path, every=4, data=data)
        keras.utils.clear_session()
        fit(network(), data, monitor)
        twin = copy.deepcopy(monitor)
        assert twin.measured == 0
        assert twin._settings[1] is data
        keras.utils.clear_session()
        fit(network(), data, twin)
        assert twin.measured == monitor.measured
        # Two trainings are two runs, not one with two values at each step.
        assert events(tmp_path).keys() == events(tmp_path / "fit_2").keys()


@pytest.mark.one_backend
class TestEvents:
    def test_scalars_are_what_diagnose_finds(self, data, tmp_path):
        model = network()
        expected = diagnose(model, *(part[:16] for part in data))
        fit(model, data, SignalMonitor(tmp_path, every=100, data=data, window=1))
        found = events(tmp_path)
        for row in expected.rows:
            name = f"{row.number:03d} {row.path}"
            assert found[f"signal std/{name}"][0] == (0, pytest.approx(row.std, rel=1e-5))
            assert found[f"gradient rms/{name}"][0] == (0, pytest.approx(row.gradient_rms, rel=1e-5))
            assert found[f"kernel gradient rms/{name}"][0] == (
                0,
                pytest.approx(row.kernel_gradient, rel=1e-5),
            )
            assert [step for step, _ in found[f"signal std/{name}"]] == [0, 12]

    def test_custom_scalars_have_a_chart_for_each_figure(self, data, tmp_path):
        fit(network(), data, SignalMonitor(tmp_path, every=100, data=data), epochs=1)
        found = events(tmp_path)
        ((_, page),) = found[metadata.CONFIG_SUMMARY_TAG]
        (category,) = layout_pb2.Layout.FromString(page.item()).category
        patterns = [pattern for chart in category.chart for pattern in chart.multiline.tag]
        assert len(patterns) == 5
        for pattern in patterns:
            # The softmax of the last layer is bounded, and no unit of it is counted.
            assert sum(bool(re.match(pattern, tag)) for tag in found) in (2, 3)

    def test_histograms_count_the_weights(self, data, tmp_path):
        model = network()
        kernel = ops.convert_to_numpy(model.layers[0].kernel)
        fit(model, data, SignalMonitor(tmp_path, every=100, data=data))
        bins = events(tmp_path)[f"weights/001 {model.layers[0].path}"][0][1]
        expected, edges = np.histogram(kernel, bins=32)
        np.testing.assert_allclose(bins[:, 0], edges[:-1], rtol=1e-4, atol=1e-6)
        # An entry at an edge may fall on either side of it.
        assert np.abs(bins[:, 2] - expected).sum() <= 4
        assert bins[:, 2].sum() == kernel.size
        for kind in ("pre-activations", "gradients"):
            assert events(tmp_path)[f"{kind}/001 {model.layers[0].path}"][0][1].shape == (32, 3)

    def test_equal_values_are_one_bin(self, data, tmp_path):
        model = network()
        model.layers[0].kernel.assign(ops.zeros((8, 12)))
        fit(model, data, SignalMonitor(tmp_path, every=100, data=data))
        bins = events(tmp_path)[f"weights/001 {model.layers[0].path}"][0][1]
        assert bins[:, 2].max() == 96
        assert bins[0, 0] == -0.5

    def test_a_unit_is_dead_if_it_is_so_in_the_whole_window(self, tmp_path):
        # Unit 0 never fires, unit 1 on one sample of four batches only.
        x = np.zeros((64, 2), "float32")
        x[:, 0] = np.linspace(1, 2, 64)
        x[50, 1] = 1
        model = keras.Sequential([keras.Input((2,)), layers.Dense(4, "relu"), layers.Dense(1)])
        model.layers[0].kernel.assign([[-1, 0, 1, 1], [0, 1, 0, 0]])
        model.compile(keras.optimizers.SGD(0.0), "mse")
        y = np.zeros((64, 1), "float32")
        monitor = SignalMonitor(tmp_path, every=1, data=(x, y), samples=16, window=4, histograms=False)
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[monitor])
        tag = f"dead units/001 {model.layers[0].path}"
        shares = [float(value) for _, value in events(tmp_path)[tag]]
        assert shares[0] == 0.5
        # From when its sample has been seen, for as long as the window remembers it.
        assert shares[-1] == 0.25
        assert not any(tag.startswith("weights") for tag in events(tmp_path))


@pytest.mark.one_backend
class TestOptions:
    def test_without_data_noise_and_a_projection(self, data, tmp_path):
        monitor = SignalMonitor(tmp_path, every=100)
        fit(network(), data, monitor)
        assert all(row.gradient_rms > 0 for row in monitor.rows)

    def test_as_often_as_it_may_cost(self, data, tmp_path, monkeypatch):
        # Whatever a measurement costs, it is due at once.
        monkeypatch.setattr("keras_initx.diagnostics.monitor.TIME_SHARE", np.inf)
        monitor = SignalMonitor(tmp_path, data=data)
        fit(network(), data, monitor)
        assert monitor.measured == 1 + 12

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"every": 0}, "every: received 0"),
            ({"samples": 1}, "samples: received 1"),
            ({"window": 1.5}, "window"),
        ],
    )
    def test_bad_numbers(self, tmp_path, options, message):
        with pytest.raises(InitxError, match=message):
            SignalMonitor(tmp_path, **options)

    def test_a_folder_that_is_a_file(self, data, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(InitxError, match=r"log_dir: received .*a folder that can be written to"):
            fit(network(), data, SignalMonitor(tmp_path / "file", data=data))

    def test_targets_of_another_number(self, data, tmp_path):
        with pytest.raises(InitxError, match="y: received"):
            fit(network(), data, SignalMonitor(tmp_path, data=(data[0], data[1][:9])))
        assert not list(tmp_path.iterdir())
