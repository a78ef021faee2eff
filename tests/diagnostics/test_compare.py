"""One model under several starts: nothing of it may stay changed, and each start is what it is called."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import InitxError, compare, diagnose, initialize, plot_signals, reinitialize
from keras_initx.diagnostics.report import HEALTHY
from tests import recorder


@pytest.fixture
def model():
    hidden = [layers.Dense(16, "tanh", kernel_initializer="glorot_uniform") for _ in range(6)]
    return keras.Sequential([keras.Input((8,)), *hidden, layers.Dense(2)])


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(32, 8)).astype("float32")


class TestCompare:
    def test_each_start_is_what_a_call_of_its_own_shows(self, model, x):
        found = compare(model, ["he_normal"], ["auto"], x, seed=3)
        assert list(found.reports) == ["as it is", "he_normal", "initialize: auto"]
        assert found.reports["as it is"] == diagnose(model, x)
        reinitialize(model, "he_normal", seed=3)
        assert found.reports["he_normal"].rows == diagnose(model, x).rows
        initialize(model, "auto", seed=3)
        assert found.reports["initialize: auto"].rows == diagnose(model, x).rows

    def test_weights_and_declared_initializers_come_back(self, model, x):
        before = recorder.values(model)
        config = model.get_config()
        compare(model, ["zeros", keras.initializers.Constant(2.0)], ["lsuv"], x)
        assert recorder.same(before, model)
        assert model.get_config() == config
        # What each weight is known to be drawn from is what `reinitialize` draws it from.
        reinitialize(model, seed=1)
        assert np.std(keras.ops.convert_to_numpy(model.layers[1].kernel)) == pytest.approx(0.25, rel=0.2)

    def test_an_error_in_the_middle_leaves_the_model(self, model, x):
        before, config = recorder.values(model), model.get_config()
        with pytest.raises(InitxError, match="he_nromal"):
            compare(model, ["ones", "he_nromal"], x=x)
        assert recorder.same(before, model)
        assert model.get_config() == config

    def test_html_has_every_start(self, model, x):
        found = compare(model, ["zeros"], x=x)
        assert found._repr_html_().count("<tr>") == 3
        assert "<td>zeros</td>" in found._repr_html_()
        assert repr(found).startswith("<Comparison of ")

    def test_all_starts_see_the_one_batch_of_a_generator(self, model, x):
        found = compare(model, ["he_normal"], ["lsuv"], iter([x[:16], x[16:]]), samples=16)
        expected = compare(model, ["he_normal"], ["lsuv"], x[:16])
        assert {name: report.rows for name, report in found.reports.items()} == {
            name: report.rows for name, report in expected.reports.items()
        }

    def test_two_of_one_name_are_told_apart(self, model, x):
        normal = [keras.initializers.RandomNormal(stddev=s, seed=1) for s in (0.1, 1.0)]
        found = compare(model, normal, x=x, as_is=False)
        assert list(found.reports) == ["RandomNormal", "RandomNormal (2)"]
        stds = [report.rows[0].kernel_std for report in found.reports.values()]
        assert stds == pytest.approx([0.1, 1.0], rel=0.3)

    def test_nothing_to_compare(self, model):
        with pytest.raises(InitxError, match="one initializer or method at least"):
            compare(model, as_is=False)

    def test_tables_and_json(self, model, x):
        found = compare(model, ["zeros"], x=x)
        assert found.table().row_count == 2
        assert "zeros" in str(found)
        assert found.layers().row_count == len(model.layers)
        read = json.loads(found.to_json())
        assert read["reports"]["zeros"]["healthy"] is False
        assert read["reports"]["as it is"]["rows"][0]["std"] == found.reports["as it is"].rows[0].std


class TestPlot:
    def test_lines_are_the_figures(self, model, x):
        report = diagnose(model, x)
        forward, backward = plot_signals({"it": report}).axes
        line = next(line for line in forward.lines if line.get_label() == "it")
        assert list(line.get_ydata()) == [row.std for row in report.rows]
        line = next(line for line in backward.lines if line.get_label() == "it")
        assert list(line.get_ydata()) == [row.gradient_rms for row in report.rows]
        assert forward.get_yscale() == backward.get_yscale() == "log"

    def test_the_healthy_band_is_shaded_and_named(self, model, x):
        forward = diagnose(model, x).plot().axes[0]
        band = next(p for p in forward.patches if "healthy" in str(p.get_label()))
        low, high = band.get_extents().transformed(forward.transData.inverted()).intervaly
        assert (low, high) == pytest.approx(HEALTHY)

    def test_a_layer_without_signal_is_a_cross_and_nan_a_triangle(self, model, x):
        kernel = model.layers[3].kernel
        kernel.assign(kernel * np.nan)
        report = diagnose(model, x)
        forward = plot_signals({"it": report}).axes[0]
        triangles = next(line for line in forward.lines if line.get_marker() == "^")
        assert list(triangles.get_xdata()) == [4, 5, 6, 7]
        reinitialize(model, "zeros")
        forward = plot_signals({"it": diagnose(model, x)}).axes[0]
        crosses = next(line for line in forward.lines if line.get_marker() == "x")
        assert forward.get_title("right") == "crosses: zero"
        assert list(crosses.get_xdata()) == [1, 2, 3, 4, 5, 6, 7]

    def test_lines_differ_in_more_than_their_colour(self, model, x):
        found = compare(model, ["he_normal", "lecun_normal", "he_uniform"], x=x)
        lines = [line for line in found.plot().axes[0].lines if line.get_label() in found.reports]
        assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines) == 4

    def test_is_drawn_without_a_warning_whatever_the_figures(self, model, x, tmp_path):
        found = compare(model, ["zeros", "ones", keras.initializers.RandomNormal(stddev=1e15, seed=1)], x=x)
        found.plot().savefig(tmp_path / "signal.png")
        assert (tmp_path / "signal.png").stat().st_size > 10_000
