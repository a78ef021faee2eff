"""The TensorBoard files of a search, read back as TensorBoard reads them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_initx.tuning.dashboards import writer
from keras_initx.tuning.dashboards.hparams import INACTIVE, STATUSES, Parameter, experiment_summary
from keras_initx.tuning.dashboards.summaries import curve_summaries, objective_summaries
from keras_initx.tuning.dashboards.writer import Dashboard
from keras_initx.tuning.pruning.layer_signal import LayerStart
from tensorboard.plugins.hparams import api_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_initx import _event_files
from keras_initx._event_files import Histogram
from tests.support.tensorboard_reader import Reader

pytestmark = pytest.mark.one_backend

PARAMETERS = [
    Parameter("initializer", values=("he_normal", "orthogonal")),
    Parameter("activation", values=("relu", "tanh")),
    Parameter("units", values=(32, 64)),
    Parameter("norm", values=(True, False)),
    Parameter("rate", low=1e-4, high=0.1),
    Parameter("layers", low=1, high=8, integer=True),
]
VALUES = {
    "initializer": "orthogonal",
    "activation": "relu",
    "units": 64,
    "norm": True,
    "rate": 0.01,
    "layers": 3,
}


# A picture of two pixels by one.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000200000001080000000075d6f4f6"
    "0000000b49444154789c636060000000030001d0a1c3a10000000049454e44ae426082"
)


@pytest.fixture
def dashboard(tmp_path: Path) -> Dashboard:
    written = Dashboard(tmp_path / "logs", objective="val_accuracy")
    written.write_experiment(PARAMETERS)
    return written


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def tags(summaries: list) -> list[str]:
    return [value.tag for summary in summaries for value in summary.value]


def test_writes_without_tensorflow(tmp_path: Path) -> None:
    # As a package of its own: KerasTuner, which keras_initx.tuning imports, imports TensorFlow.
    code = f"""
import sys, types
# Only the folders: their __init__ files import the oracle, and with it KerasTuner.
for name, folder in {{"package": "", "package.dashboards": "dashboards"}}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [{str(Path(writer.__file__).parents[1])!r} + "/" + folder]
from package.dashboards.writer import Dashboard
from keras_initx._event_files import Histogram
from package.dashboards.hparams import Parameter
from package.pruning import LayerStart
dashboard = Dashboard({str(tmp_path)!r})
dashboard.write_experiment([Parameter("rate", low=0.0, high=1.0)])
dashboard.write_seed("a", 0, {{"loss": [1.0]}})
layer = LayerStart("dense", 1.0, 0.5, {{"activations": Histogram((0.0, 1.0), (3,))}})
dashboard.write_start("a", [layer])
dashboard.write_trial("a", {{"rate": 0.5}}, {{0: 1.0}}, "completed")
dashboard.write_text("ranking", "first")
dashboard.write_image("plot", {PIXEL!r})
sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "KERAS_BACKEND": "jax"})
    reader = Reader(tmp_path)
    assert reader.metrics("a") == {"objective/mean": 1.0, "objective/n": 1.0}
    assert reader.histograms() == {("a", "activations/001 dense"): [[0.0, 1.0, 3.0]]}
    assert reader.images() == {("summary", "plot"): [b"2", b"1", PIXEL]}


class TestParameter:
    @pytest.mark.parametrize(
        ("parameter", "dtype", "values"),
        [
            (Parameter("p", values=("tanh", "relu")), str, [INACTIVE, "relu", "tanh"]),
            (Parameter("p", values=(64, 32)), int, [32, 64]),
            (Parameter("p", values=(1, 0.5)), float, [0.5, 1.0]),
            (Parameter("p", values=(True, False)), bool, [False, True]),
            (Parameter("p", values=(np.int64(3), np.int64(2))), int, [2, 3]),
            (Parameter("p", values=(np.str_("a"),)), str, [INACTIVE, "a"]),
        ],
    )
    def test_discrete(self, parameter: Parameter, dtype: type, values: list) -> None:
        domain = parameter.domain()
        assert domain.dtype is dtype
        assert domain.values == values
        assert {type(value) for value in domain.values} == {dtype}

    @pytest.mark.parametrize(("integer", "dtype"), [(False, float), (True, int)])
    def test_interval(self, integer: bool, dtype: type) -> None:
        domain = Parameter("p", low=np.float32(1), high=8, integer=integer).domain()
        assert (domain.min_value, domain.max_value) == (1, 8)
        assert domain.dtype is dtype

    @pytest.mark.parametrize("values", [("a", 1), (True, 1), (1.0, False)])
    def test_mixed_types(self, values: tuple) -> None:
        with pytest.raises(ValueError, match="mixes types"):
            Parameter("p", values=values).domain()

    @pytest.mark.parametrize("given", [{}, {"values": ()}, {"low": 1.0}, {"high": 1.0}])
    def test_no_domain(self, given: dict) -> None:
        with pytest.raises(ValueError, match="neither values nor both bounds"):
            Parameter("p", **given).domain()


class TestExperiment:
    def test_columns(self, dashboard: Dashboard) -> None:
        experiment = Reader(dashboard.logdir).experiment()
        infos = {info.name: info for info in experiment.hparam_infos}
        assert infos.keys() == VALUES.keys() | {"status"}
        assert {name: info.type for name, info in infos.items()} == {
            "initializer": api_pb2.DATA_TYPE_STRING,
            "activation": api_pb2.DATA_TYPE_STRING,
            "status": api_pb2.DATA_TYPE_STRING,
            "norm": api_pb2.DATA_TYPE_BOOL,
            "units": api_pb2.DATA_TYPE_FLOAT64,
            "rate": api_pb2.DATA_TYPE_FLOAT64,
            "layers": api_pb2.DATA_TYPE_FLOAT64,
        }
        assert set(infos["status"].domain_discrete) == set(STATUSES)
        assert (infos["rate"].domain_interval.min_value, infos["rate"].domain_interval.max_value) == (
            1e-4,
            0.1,
        )
        assert [(info.name.group, info.name.tag, info.display_name) for info in experiment.metric_infos] == [
            ("", "objective/mean", "val_accuracy mean"),
            ("", "objective/std", "val_accuracy std"),
            ("", "objective/n", "seeds"),
        ]

    def test_status_is_the_first_column(self, dashboard: Dashboard) -> None:
        # The page opens with the first five, and has six other hyperparameters here.
        assert Reader(dashboard.logdir).experiment().hparam_infos[0].name == "status"

    def test_is_complete_before_any_trial(self, dashboard: Dashboard) -> None:
        before = Reader(dashboard.logdir).experiment()
        dashboard.write_trial("a", {"initializer": "orthogonal"}, {0: 0.5}, "completed")
        assert Reader(dashboard.logdir).experiment() == before

    def test_trial_before_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="write_experiment comes before"):
            Dashboard(tmp_path).write_trial("a", {}, {}, "failed")
        assert list(tmp_path.iterdir()) == []

    def test_resumed_search_replaces_only_its_own_file(self, dashboard: Dashboard) -> None:
        other = dashboard.logdir / "events.out.tfevents.0000000001.host.1.0"
        other.touch()
        note = dashboard.logdir / "search.json"
        note.touch()
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        Dashboard(dashboard.logdir).write_experiment([*PARAMETERS, Parameter("gain", low=0.5, high=2.0)])
        assert len(files(dashboard.logdir)) == 3
        assert other.exists()
        assert note.exists()
        reader = Reader(dashboard.logdir)
        assert "gain" in {info.name for info in reader.experiment().hparam_infos}
        assert reader.row("a")["units"] == 64

    @pytest.mark.parametrize("names", [("status",), ("units", "units")])
    def test_name_is_taken(self, names: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match="must differ"):
            experiment_summary([Parameter(name, values=(1, 2)) for name in names], [])


class TestTrial:
    def test_every_trial_is_one_session(self, dashboard: Dashboard) -> None:
        for number in range(4):
            trial = f"trial_{number}"
            dashboard.write_seed(trial, 0, {"loss": [1.0, 0.5]})
            dashboard.write_trial(trial, VALUES, {0: 0.5}, "completed")
        groups = Reader(dashboard.logdir).sessions()
        assert sorted(group.name for group in groups) == ["trial_0", "trial_1", "trial_2", "trial_3"]
        assert [len(group.sessions) for group in groups] == [1, 1, 1, 1]

    def test_typed_values(self, dashboard: Dashboard) -> None:
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        row = Reader(dashboard.logdir).row("a")
        assert row == {**VALUES, "status": "completed"}
        assert row["norm"] is True
        assert isinstance(row["units"], float)

    def test_numpy_values(self, dashboard: Dashboard) -> None:
        values = {
            "initializer": np.str_("orthogonal"),
            "units": np.int64(32),
            "norm": np.bool_(False),
            "rate": np.float32(0.5),
        }
        dashboard.write_trial("a", values, {np.int64(0): np.float32(0.5)}, "completed")
        reader = Reader(dashboard.logdir)
        row = reader.row("a")
        assert (row["initializer"], row["units"], row["norm"], row["rate"]) == ("orthogonal", 32, False, 0.5)
        assert row["norm"] is False
        assert reader.metrics("a")["objective/mean"] == 0.5

    @pytest.mark.parametrize("values", [{}, dict.fromkeys(VALUES)])
    def test_inactive_hyperparameters(self, dashboard: Dashboard, values: dict) -> None:
        dashboard.write_trial("a", values, {0: 0.5}, "completed")
        assert Reader(dashboard.logdir).row("a") == {
            "initializer": INACTIVE,
            "activation": INACTIVE,
            "status": "completed",
        }

    @pytest.mark.parametrize(
        "wrong", [{"units": "64"}, {"units": True}, {"norm": 1}, {"initializer": 3}, {"rate": "-"}]
    )
    def test_wrong_type(self, dashboard: Dashboard, wrong: dict) -> None:
        with pytest.raises(TypeError, match=f"hyperparameter '{next(iter(wrong))}' takes a"):
            dashboard.write_trial("a", wrong, {0: 0.5}, "completed")
        assert not (dashboard.logdir / "a").exists()

    def test_value_without_a_column(self, dashboard: Dashboard) -> None:
        with pytest.raises(ValueError, match="not in the experiment: gain"):
            dashboard.write_trial("a", {**VALUES, "gain": 1.0}, {0: 0.5}, "completed")

    def test_unknown_status(self, dashboard: Dashboard) -> None:
        with pytest.raises(ValueError, match="status must be one of completed"):
            dashboard.write_trial("a", VALUES, {0: 0.5}, "done")

    def test_objective(self, dashboard: Dashboard) -> None:
        dashboard.write_trial("a", VALUES, {0: 1.0, 1: 2.0, 7: 6.0}, "completed")
        assert Reader(dashboard.logdir).metrics("a") == pytest.approx(
            {"objective/mean": 3.0, "objective/std": 7**0.5, "objective/n": 3.0}
        )

    def test_one_seed_has_no_deviation(self, dashboard: Dashboard) -> None:
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        reader = Reader(dashboard.logdir)
        assert reader.metrics("a") == {"objective/mean": 0.5, "objective/n": 1.0}
        assert "objective/std" not in reader.scalars("a")

    @pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1e39, np.float32("nan")])
    def test_diverged_seed_leaves_no_objective(self, dashboard: Dashboard, score: float) -> None:
        dashboard.write_trial("a", VALUES, {0: 0.5, 1: score, 2: 0.7}, "completed")
        assert Reader(dashboard.logdir).metrics("a") == {"objective/n": 2.0}

    @pytest.mark.parametrize("scores", [{}, {0: 0.5}])
    def test_failed(self, dashboard: Dashboard, scores: dict) -> None:
        dashboard.write_trial("a", VALUES, scores, "failed")
        reader = Reader(dashboard.logdir)
        assert reader.metrics("a") == {"objective/n": len(scores)}
        assert reader.row("a")["status"] == "failed"
        (session,) = reader.session("a").sessions
        assert session.status == api_pb2.STATUS_FAILURE
        assert session.end_time_secs >= session.start_time_secs > 0

    @pytest.mark.parametrize(
        ("status", "state"),
        [
            ("completed", api_pb2.STATUS_SUCCESS),
            ("stopped", api_pb2.STATUS_SUCCESS),
            ("invalid", api_pb2.STATUS_FAILURE),
        ],
    )
    def test_status(self, dashboard: Dashboard, status: str, state: int) -> None:
        dashboard.write_trial("a", VALUES, {0: 0.5}, status)
        reader = Reader(dashboard.logdir)
        assert reader.row("a")["status"] == status
        assert reader.session("a").sessions[0].status == state
        assert ("objective/mean" in reader.metrics("a")) == (state == api_pb2.STATUS_SUCCESS)

    def test_extra_scalars(self, dashboard: Dashboard) -> None:
        extra = {"cost/seconds": np.float64(12.5), "cost/energy": float("nan")}
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed", extra)
        scalars = Reader(dashboard.logdir).scalars("a")
        assert scalars["cost/seconds"] == [(0, 12.5)]
        assert "cost/energy" not in scalars

    def test_extra_scalar_under_an_objective_tag(self, dashboard: Dashboard) -> None:
        with pytest.raises(ValueError, match="objective/mean"):
            dashboard.write_trial("a", VALUES, {0: 0.5}, "completed", {"objective/mean": 1.0})

    def test_written_again(self, dashboard: Dashboard) -> None:
        dashboard.write_seed("a", 0, {"loss": [1.0]})
        dashboard.write_trial("a", {**VALUES, "units": 32}, {0: 0.1, 1: 0.2}, "failed", {"cost": 1.0})
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        assert len(files(dashboard.logdir / "a")) == 1
        reader = Reader(dashboard.logdir)
        assert len(reader.sessions()) == 1
        assert reader.row("a") == {**VALUES, "status": "completed"}
        assert reader.scalars("a") == {"objective/mean": [(0, 0.5)], "objective/n": [(0, 1.0)]}
        assert reader.scalars("a/seed_0") == {"epoch/loss": [(0, 1.0)]}

    def test_killed_write_keeps_the_row_before(
        self, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        whole = RecordWriter.write
        written = []

        def killed(self: RecordWriter, data: bytes) -> None:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(data)
            whole(self, data)

        with monkeypatch.context() as patch:
            patch.setattr(RecordWriter, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                dashboard.write_trial("a", {**VALUES, "units": 32}, {0: 0.9}, "completed")
        reader = Reader(dashboard.logdir)
        assert reader.row("a")["units"] == 64
        assert reader.metrics("a")["objective/mean"] == 0.5

        dashboard.write_trial("a", {**VALUES, "units": 32}, {0: 0.75}, "completed")
        assert len(files(dashboard.logdir / "a")) == 1
        assert Reader(dashboard.logdir).metrics("a")["objective/mean"] == 0.75

    def test_newer_file_sorts_last(self, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
        names = []
        # The tenth digit of a second, and nanoseconds of different lengths.
        for now in (999_999_999_000_000_009, 999_999_999_000_000_010, 1_000_000_000_000_000_000):
            monkeypatch.setattr(_event_files.time, "time_ns", lambda now=now: now)
            dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
            names += [path.name for path in files(dashboard.logdir / "a")]
        assert len(set(names)) == 3
        assert names == sorted(names)

    @pytest.mark.parametrize("trial", ["", ".", "..", "a/b", "a\\b", "summary"])
    def test_unusable_name(self, dashboard: Dashboard, trial: str) -> None:
        with pytest.raises(ValueError, match="not a name for a trial's folder"):
            dashboard.write_trial(trial, VALUES, {0: 0.5}, "completed")
        with pytest.raises(ValueError, match="not a name for a trial's folder"):
            dashboard.write_seed(trial, 0, {"loss": [1.0]})


class TestSeed:
    def test_curves(self, dashboard: Dashboard) -> None:
        dashboard.write_seed("a", 3, {"loss": [1.0, 0.5, 0.25], "val_accuracy": np.array([0.25, 0.5])})
        reader = Reader(dashboard.logdir)
        assert reader.runs() == {".", "a/seed_3"}
        assert reader.scalars("a/seed_3") == {
            "epoch/loss": [(0, 1.0), (1, 0.5), (2, 0.25)],
            "epoch/val_accuracy": [(0, 0.25), (1, 0.5)],
        }

    def test_diverged(self, dashboard: Dashboard) -> None:
        dashboard.write_seed("a", 0, {"loss": [1.0, 1e39, float("nan")]})
        (_, first), (_, second), (_, third) = Reader(dashboard.logdir).scalars("a/seed_0")["epoch/loss"]
        assert (first, second) == (1.0, float("inf"))
        assert np.isnan(third)

    def test_written_again(self, dashboard: Dashboard) -> None:
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        dashboard.write_seed("a", 1, {"loss": [9.0]})
        dashboard.write_seed("a", 0, {"loss": [1.0, 0.5, 0.25], "accuracy": [0.5]})
        dashboard.write_seed("a", 0, {"loss": [2.0, 1.5]})
        assert len(files(dashboard.logdir / "a" / "seed_0")) == 1
        reader = Reader(dashboard.logdir)
        assert reader.scalars("a/seed_0") == {"epoch/loss": [(0, 2.0), (1, 1.5)]}
        assert reader.scalars("a/seed_1") == {"epoch/loss": [(0, 9.0)]}
        assert reader.metrics("a")["objective/mean"] == 0.5


def test_text(dashboard: Dashboard) -> None:
    dashboard.write_text("ranking", "first")
    dashboard.write_text("command", "keras-initx tune")
    dashboard.write_text("ranking", "# second ✓")
    reader = Reader(dashboard.logdir)
    assert reader.texts() == {
        ("summary", "ranking"): ["# second ✓"],
        ("summary", "command"): ["keras-initx tune"],
    }
    assert reader.sessions() == []


LAYERS = [
    LayerStart("first", 0.5, 2.0, {"weights/kernel": Histogram((0.0, 1.0, 3.0), (4, 5))}),
    LayerStart("second", float("inf"), None, {"activations": Histogram((-1.0, 1.0), (7,))}),
    LayerStart("third", 0.25, 1.0),
]


class TestStart:
    def test_curves_have_the_depth_as_their_step(self, dashboard: Dashboard) -> None:
        dashboard.write_start("a", LAYERS)
        # Nothing of the second: it has no finite value.
        assert Reader(dashboard.logdir).scalars("a") == {
            "signal/forward": [(1, 0.5), (3, 0.25)],
            "signal/backward": [(1, 2.0), (3, 1.0)],
        }

    def test_histograms_in_the_order_of_the_layers(self, dashboard: Dashboard) -> None:
        dashboard.write_start("a", LAYERS)
        assert Reader(dashboard.logdir).histograms() == {
            ("a", "weights/001 first/kernel"): [[0.0, 1.0, 4.0], [1.0, 3.0, 5.0]],
            ("a", "activations/002 second"): [[-1.0, 1.0, 7.0]],
        }

    def test_beside_the_session(self, dashboard: Dashboard) -> None:
        dashboard.write_start("a", LAYERS)
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        dashboard.write_start("a", LAYERS[:1])
        reader = Reader(dashboard.logdir)
        assert reader.metrics("a")["objective/mean"] == 0.5
        assert reader.scalars("a")["signal/forward"] == [(1, 0.5)]
        assert len(files(dashboard.logdir / "a")) == 2

    def test_the_charts_of_custom_scalars_match_the_tags(self, dashboard: Dashboard) -> None:
        dashboard.write_start("a", LAYERS)
        dashboard.write_trial("a", VALUES, {0: 0.5}, "completed")
        reader = Reader(dashboard.logdir)
        (category,) = reader.layout().category
        drawn = [
            [tag for tag in reader.scalars("a") if re.search(pattern, tag)]
            for chart in category.chart
            for pattern in chart.multiline.tag
        ]
        assert drawn == [["signal/forward"], ["signal/backward"]]


def test_image(dashboard: Dashboard) -> None:
    dashboard.write_image("search/scores", PIXEL)
    dashboard.write_image("search/signal", PIXEL + b"x")
    dashboard.write_image("search/scores", PIXEL + b"y")
    assert Reader(dashboard.logdir).images() == {
        ("summary", "search/scores"): [b"2", b"1", PIXEL + b"y"],
        ("summary", "search/signal"): [b"2", b"1", PIXEL + b"x"],
    }
    with pytest.raises(ValueError, match="PNG"):
        dashboard.write_image("search/scores", b"GIF89a")


def test_builders_need_no_folder() -> None:
    assert tags(objective_summaries({0: 1.0, 1: 2.0}, "stopped")) == [
        "objective/n",
        "objective/mean",
        "objective/std",
    ]
    assert [(step, summary.value[0].tag) for step, summary in curve_summaries({"loss": [2.0, 1.0]})] == [
        (0, "epoch/loss"),
        (1, "epoch/loss"),
    ]
