"""Test the content of the images, and that they can be drawn for any search."""

import io

import keras_tuner
import numpy as np
import pytest
from keras_initx.tuning.dashboards import images
from keras_initx.tuning.pruning.layer_signal import LayerStart
from keras_initx.tuning.study.results import TrialResult
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from keras_initx.diagnostics import USUAL_STD

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

OBJECTIVE = keras_tuner.Objective("val_accuracy", "max")


def trial(number, scores=(), status="completed", start=((1.0, 0.5), (2.0, 0.25))):
    seeds = {n: {"score": score} for n, score in enumerate(scores)}
    layers = {n: LayerStart(f"l{n}", *both) for n, both in enumerate(start, 1)}
    return TrialResult(number, {}, status, "", seeds, start=layers)


@pytest.fixture
def figures(monkeypatch):
    """Collect the figures that are drawn, in order."""
    drawn = []

    class Canvas(FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            drawn.append(figure)

    monkeypatch.setattr(images, "FigureCanvasAgg", Canvas)
    return drawn


def lines(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_scores(figures):
    trials = [
        trial(0, status="screened"),
        trial(1, (0.5, 0.7)),
        trial(2, (0.4,)),
        trial(3, (0.8, 0.9)),
        trial(4, (0.1,), "failed"),
    ]
    png = images.scores_image(trials, OBJECTIVE)
    assert Image.open(io.BytesIO(png)).size == (700, 400)
    (axes,) = figures[0].axes
    assert lines(axes)["best so far"] == pytest.approx([0.6, 0.6, 0.85])
    (bars,) = axes.containers
    assert list(bars[0].get_ydata()) == pytest.approx([0.6, 0.4, 0.85])
    ends = [sorted(segment[:, 1]) for segment in bars[2][0].get_segments()]
    expected = [list(t.sample.interval(within=(0, 1))) for t in (trials[1], trials[3])]
    assert ends == [pytest.approx(expected[0]), [0.4, 0.4], pytest.approx(expected[1])]
    markers = {c.get_label(): c for c in axes.collections}
    marked = {
        name: list(markers[name].get_offsets()[:, 0]) for name in images._ENDED_EARLY if name in markers
    }
    assert marked == {"screened": [0], "failed": [4]}
    assert axes.get_xlim() == (-0.5, 4.5)


def test_the_best_so_far_of_a_loss_goes_down(figures):
    images.scores_image([trial(0, (3.0,)), trial(1, (4.0,))], keras_tuner.Objective("val_loss", "min"))
    assert lines(figures[0].axes[0])["best so far"] == [3.0, 3.0]


def test_signal(figures):
    trials = [
        trial(0, status="screened", start=((1.0, None), (0.0, 1e-30))),
        trial(1, (0.5, 0.7)),
        trial(2, (0.4, 0.3), start=()),
    ]
    assert images.signal_image(trials, OBJECTIVE) is not None
    forward, backward = figures[0].axes
    assert lines(forward) == {"screened": [1.0, 1e-12], "best: trial 1": [1.0, 2.0]}
    assert lines(backward) == {"screened": [1e-12], "best: trial 1": [0.5, 0.25]}
    (band,) = forward.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx(USUAL_STD)
    assert not backward.patches
    assert forward.get_yscale() == backward.get_yscale() == "log"


def test_no_two_styles_are_one_in_grey():
    def grey(color):
        rgb = np.array([int(color[n : n + 2], 16) for n in (1, 3, 5)])
        return float(rgb @ [0.299, 0.587, 0.114])

    styles = images._LINES.values()
    seen = {(style["linestyle"], style["linewidth"], style.get("marker")) for style in styles}
    assert len(seen) == len(styles)
    greys = sorted(grey(style["color"]) for style in styles)
    assert min(np.diff(greys)) > 25


@pytest.mark.parametrize("draw", [images.scores_image, images.signal_image])
def test_any_search_can_be_drawn(draw):
    for trials in ([], [trial(0, status="failed", start=())], [trial(0, status="running", start=())]):
        assert draw(trials, OBJECTIVE) is None
    many = [trial(n, (n / 300,), start=((1.0, 1.0),) * 100) for n in range(300)]
    assert draw(many, OBJECTIVE).startswith(b"\x89PNG")
    # Trials without a signal: no layers, or layers without numbers.
    assert draw([trial(0, (0.5,), start=()), trial(1, (0.4,), start=((None, None),))], OBJECTIVE) is not None


def test_the_state_of_pyplot_is_left_alone():
    import matplotlib.pyplot

    with matplotlib.rc_context({"font.size": 31.0}):
        images.scores_image([trial(0, (0.5,))], OBJECTIVE)
        assert matplotlib.rcParams["font.size"] == 31.0
    assert matplotlib.pyplot.get_fignums() == []
