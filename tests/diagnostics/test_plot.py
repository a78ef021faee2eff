"""The lines of a plot show the figures of the report."""

import keras
import numpy as np
import pytest

from keras_initx import compare, diagnose, plot_signals, reinitialize
from keras_initx.diagnostics.records import USUAL_STD

pytestmark = pytest.mark.one_backend


class TestPlot:
    @pytest.mark.usefixtures("compiled_pass")
    def test_lines_show_std_and_gradient_rms(self, model, x):
        report = diagnose(model, x)
        forward, backward = plot_signals({"it": report}).axes
        line = next(line for line in forward.lines if line.get_label() == "it")
        assert list(line.get_ydata()) == [row.std for row in report.rows]
        line = next(line for line in backward.lines if line.get_label() == "it")
        assert list(line.get_ydata()) == [row.gradient_rms for row in report.rows]
        assert forward.get_yscale() == backward.get_yscale() == "log"

    def test_the_usual_range_is_shaded_and_named(self, model, x):
        forward = diagnose(model, x).plot().axes[0]
        band = next(p for p in forward.patches if "usual" in str(p.get_label()))
        low, high = band.get_extents().transformed(forward.transData.inverted()).intervaly
        assert (low, high) == pytest.approx(USUAL_STD)

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

    def test_lines_differ_in_style_and_marker(self, model, x):
        comparison = compare(model, ["he_normal", "lecun_normal", "he_uniform"], x=x)
        lines = [line for line in comparison.plot().axes[0].lines if line.get_label() in comparison.reports]
        assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == len(lines) == 4

    def test_extreme_figures_are_drawn_without_a_warning(self, model, x, tmp_path):
        comparison = compare(
            model, ["zeros", "ones", keras.initializers.RandomNormal(stddev=1e15, seed=1)], x=x
        )
        comparison.plot().savefig(tmp_path / "signal.png")
        assert (tmp_path / "signal.png").stat().st_size > 10_000
