"""Test the TensorBoard files of a search, read back with TensorBoard's own back end."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_initx.tuning.dashboards.hparams import INACTIVE, STATUSES, Parameter
from keras_initx.tuning.dashboards.writer import DashboardWriter
from keras_initx.tuning.pruning.layer_signal import LayerStart
from tensorboard.plugins.hparams import api_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from keras_initx import _event_files
from keras_initx._event_files import Histogram
from tests.support.tensorboard_reader import Reader

pytestmark = [pytest.mark.check, pytest.mark.one_backend]

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


# An image of two pixels by one.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000200000001080000000075d6f4f6"
    "0000000b49444154789c636060000000030001d0a1c3a10000000049454e44ae426082"
)


@pytest.fixture
def writer(tmp_path: Path) -> DashboardWriter:
    writer = DashboardWriter(tmp_path / "logs", objective="val_accuracy")
    writer.write_experiment(PARAMETERS)
    return writer


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def test_writes_without_tensorflow(tmp_path: Path) -> None:
    # keras_initx.tuning imports KerasTuner, which imports TensorFlow, so build a package of the same files.
    code = f"""
import sys, types
# Only the folders, without their __init__ files, which import the oracle and KerasTuner.
for name, folder in {{"package": "", "package.dashboards": "dashboards"}}.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [{str(Path(inspect.getfile(DashboardWriter)).parents[1])!r} + "/" + folder]
from package.dashboards.writer import DashboardWriter
from keras_initx._event_files import Histogram
from package.dashboards.hparams import Parameter
from package.pruning import LayerStart
writer = DashboardWriter({str(tmp_path)!r})
writer.write_experiment([Parameter("rate", low=0.0, high=1.0)])
writer.write_seed("a", 0, {{"loss": [1.0]}})
layer = LayerStart("dense", 1.0, 0.5, {{"activations": Histogram((0.0, 1.0), (3,))}})
writer.write_start("a", [layer])
writer.write_trial("a", {{"rate": 0.5}}, {{0: 1.0}}, "completed")
writer.write_text("ranking", "first")
writer.write_image("plot", {PIXEL!r})
sys.exit("tensorflow" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "KERAS_BACKEND": "jax"})
    reader = Reader(tmp_path)
    assert reader.metrics("a") == {"objective/mean": 1.0, "objective/n": 1.0}
    assert reader.histograms() == {("a", "activations/001 dense"): [[0.0, 1.0, 3.0]]}
    assert reader.images() == {("summary", "plot"): [b"2", b"1", PIXEL]}


class TestExperiment:
    def test_columns(self, writer: DashboardWriter) -> None:
        experiment = Reader(writer.logdir).experiment()
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

    def test_status_is_the_first_column(self, writer: DashboardWriter) -> None:
        # The page shows the first five columns, and there are six other hyperparameters here.
        assert Reader(writer.logdir).experiment().hparam_infos[0].name == "status"

    def test_is_complete_before_any_trial(self, writer: DashboardWriter) -> None:
        before = Reader(writer.logdir).experiment()
        writer.write_trial("a", {"initializer": "orthogonal"}, {0: 0.5}, "completed")
        assert Reader(writer.logdir).experiment() == before

    def test_trial_before_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError, match="Call write_experiment before write_trial"):
            DashboardWriter(tmp_path).write_trial("a", {}, {}, "failed")
        assert list(tmp_path.iterdir()) == []

    def test_resumed_search_replaces_only_its_own_file(self, writer: DashboardWriter) -> None:
        other = writer.logdir / "events.out.tfevents.0000000001.host.1.0"
        other.touch()
        note = writer.logdir / "search.json"
        note.touch()
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        DashboardWriter(writer.logdir).write_experiment([*PARAMETERS, Parameter("gain", low=0.5, high=2.0)])
        assert len(files(writer.logdir)) == 3
        assert other.exists()
        assert note.exists()
        reader = Reader(writer.logdir)
        assert "gain" in {info.name for info in reader.experiment().hparam_infos}
        assert reader.row("a")["units"] == 64


class TestTrial:
    def test_every_trial_is_one_session(self, writer: DashboardWriter) -> None:
        for number in range(4):
            trial = f"trial_{number}"
            writer.write_seed(trial, 0, {"loss": [1.0, 0.5]})
            writer.write_trial(trial, VALUES, {0: 0.5}, "completed")
        groups = Reader(writer.logdir).sessions()
        assert sorted(group.name for group in groups) == ["trial_0", "trial_1", "trial_2", "trial_3"]
        assert [len(group.sessions) for group in groups] == [1, 1, 1, 1]

    def test_typed_values(self, writer: DashboardWriter) -> None:
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        row = Reader(writer.logdir).row("a")
        assert row == {**VALUES, "status": "completed"}
        assert row["norm"] is True
        assert isinstance(row["units"], float)

    def test_numpy_values(self, writer: DashboardWriter) -> None:
        values = {
            "initializer": np.str_("orthogonal"),
            "units": np.int64(32),
            "norm": np.bool_(False),
            "rate": np.float32(0.5),
        }
        writer.write_trial("a", values, {np.int64(0): np.float32(0.5)}, "completed")
        reader = Reader(writer.logdir)
        row = reader.row("a")
        assert (row["initializer"], row["units"], row["norm"], row["rate"]) == ("orthogonal", 32, False, 0.5)
        assert row["norm"] is False
        assert reader.metrics("a")["objective/mean"] == 0.5

    @pytest.mark.parametrize("values", [{}, dict.fromkeys(VALUES)])
    def test_inactive_hyperparameters(self, writer: DashboardWriter, values: dict) -> None:
        writer.write_trial("a", values, {0: 0.5}, "completed")
        assert Reader(writer.logdir).row("a") == {
            "initializer": INACTIVE,
            "activation": INACTIVE,
            "status": "completed",
        }

    @pytest.mark.parametrize(
        "wrong", [{"units": "64"}, {"units": True}, {"norm": 1}, {"initializer": 3}, {"rate": "-"}]
    )
    def test_wrong_type(self, writer: DashboardWriter, wrong: dict) -> None:
        with pytest.raises(TypeError, match=f"Hyperparameter '{next(iter(wrong))}' must be a"):
            writer.write_trial("a", wrong, {0: 0.5}, "completed")
        assert not (writer.logdir / "a").exists()

    def test_value_without_a_column(self, writer: DashboardWriter) -> None:
        with pytest.raises(ValueError, match=r"no column gain\. Call write_experiment again"):
            writer.write_trial("a", {**VALUES, "gain": 1.0}, {0: 0.5}, "completed")

    def test_unknown_status(self, writer: DashboardWriter) -> None:
        with pytest.raises(ValueError, match=r"`status` must be one of completed.* got 'done'"):
            writer.write_trial("a", VALUES, {0: 0.5}, "done")

    def test_objective(self, writer: DashboardWriter) -> None:
        writer.write_trial("a", VALUES, {0: 1.0, 1: 2.0, 7: 6.0}, "completed")
        assert Reader(writer.logdir).metrics("a") == pytest.approx(
            {"objective/mean": 3.0, "objective/std": 7**0.5, "objective/n": 3.0}
        )

    def test_one_seed_has_no_deviation(self, writer: DashboardWriter) -> None:
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        reader = Reader(writer.logdir)
        assert reader.metrics("a") == {"objective/mean": 0.5, "objective/n": 1.0}
        assert "objective/std" not in reader.scalars("a")

    @pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1e39, np.float32("nan")])
    def test_diverged_seed_leaves_no_objective(self, writer: DashboardWriter, score: float) -> None:
        writer.write_trial("a", VALUES, {0: 0.5, 1: score, 2: 0.7}, "completed")
        assert Reader(writer.logdir).metrics("a") == {"objective/n": 2.0}

    @pytest.mark.parametrize("scores", [{}, {0: 0.5}])
    def test_failed(self, writer: DashboardWriter, scores: dict) -> None:
        writer.write_trial("a", VALUES, scores, "failed")
        reader = Reader(writer.logdir)
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
    def test_status(self, writer: DashboardWriter, status: str, state: int) -> None:
        writer.write_trial("a", VALUES, {0: 0.5}, status)
        reader = Reader(writer.logdir)
        assert reader.row("a")["status"] == status
        assert reader.session("a").sessions[0].status == state
        assert ("objective/mean" in reader.metrics("a")) == (state == api_pb2.STATUS_SUCCESS)

    def test_extra_scalars(self, writer: DashboardWriter) -> None:
        extra = {"cost/seconds": np.float64(12.5), "cost/energy": float("nan")}
        writer.write_trial("a", VALUES, {0: 0.5}, "completed", extra)
        scalars = Reader(writer.logdir).scalars("a")
        assert scalars["cost/seconds"] == [(0, 12.5)]
        assert "cost/energy" not in scalars

    def test_extra_scalar_under_an_objective_tag(self, writer: DashboardWriter) -> None:
        with pytest.raises(ValueError, match=r"`extra` must not contain.*objective/mean"):
            writer.write_trial("a", VALUES, {0: 0.5}, "completed", {"objective/mean": 1.0})

    def test_written_again(self, writer: DashboardWriter) -> None:
        writer.write_seed("a", 0, {"loss": [1.0]})
        writer.write_trial("a", {**VALUES, "units": 32}, {0: 0.1, 1: 0.2}, "failed", {"cost": 1.0})
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        assert len(files(writer.logdir / "a")) == 1
        reader = Reader(writer.logdir)
        assert len(reader.sessions()) == 1
        assert reader.row("a") == {**VALUES, "status": "completed"}
        assert reader.scalars("a") == {"objective/mean": [(0, 0.5)], "objective/n": [(0, 1.0)]}
        assert reader.scalars("a/seed_0") == {"epoch/loss": [(0, 1.0)]}

    def test_killed_write_keeps_the_row_before(
        self, writer: DashboardWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        write = RecordWriter.write
        written = []

        def killed(self: RecordWriter, data: bytes) -> None:
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(data)
            write(self, data)

        with monkeypatch.context() as patch:
            patch.setattr(RecordWriter, "write", killed)
            with pytest.raises(KeyboardInterrupt):
                writer.write_trial("a", {**VALUES, "units": 32}, {0: 0.9}, "completed")
        reader = Reader(writer.logdir)
        assert reader.row("a")["units"] == 64
        assert reader.metrics("a")["objective/mean"] == 0.5

        writer.write_trial("a", {**VALUES, "units": 32}, {0: 0.75}, "completed")
        assert len(files(writer.logdir / "a")) == 1
        assert Reader(writer.logdir).metrics("a")["objective/mean"] == 0.75

    def test_newer_file_sorts_last(self, writer: DashboardWriter, monkeypatch: pytest.MonkeyPatch) -> None:
        names = []
        # Seconds and nanoseconds with different numbers of digits.
        for now in (999_999_999_000_000_009, 999_999_999_000_000_010, 1_000_000_000_000_000_000):
            monkeypatch.setattr(_event_files.time, "time_ns", lambda now=now: now)
            writer.write_trial("a", VALUES, {0: 0.5}, "completed")
            names += [path.name for path in files(writer.logdir / "a")]
        assert len(set(names)) == 3
        assert names == sorted(names)

    @pytest.mark.parametrize("trial", ["", ".", "..", "a/b", "a\\b", "summary"])
    def test_unusable_name(self, writer: DashboardWriter, trial: str) -> None:
        with pytest.raises(ValueError, match="`trial` must be the name of a new folder"):
            writer.write_trial(trial, VALUES, {0: 0.5}, "completed")
        with pytest.raises(ValueError, match="`trial` must be the name of a new folder"):
            writer.write_seed(trial, 0, {"loss": [1.0]})


class TestSeed:
    def test_curves(self, writer: DashboardWriter) -> None:
        writer.write_seed("a", 3, {"loss": [1.0, 0.5, 0.25], "val_accuracy": np.array([0.25, 0.5])})
        reader = Reader(writer.logdir)
        assert reader.runs() == {".", "a/seed_3"}
        assert reader.scalars("a/seed_3") == {
            "epoch/loss": [(0, 1.0), (1, 0.5), (2, 0.25)],
            "epoch/val_accuracy": [(0, 0.25), (1, 0.5)],
        }

    def test_diverged(self, writer: DashboardWriter) -> None:
        writer.write_seed("a", 0, {"loss": [1.0, 1e39, float("nan")]})
        (_, first), (_, second), (_, third) = Reader(writer.logdir).scalars("a/seed_0")["epoch/loss"]
        assert (first, second) == (1.0, float("inf"))
        assert np.isnan(third)

    def test_written_again(self, writer: DashboardWriter) -> None:
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        writer.write_seed("a", 1, {"loss": [9.0]})
        writer.write_seed("a", 0, {"loss": [1.0, 0.5, 0.25], "accuracy": [0.5]})
        writer.write_seed("a", 0, {"loss": [2.0, 1.5]})
        assert len(files(writer.logdir / "a" / "seed_0")) == 1
        reader = Reader(writer.logdir)
        assert reader.scalars("a/seed_0") == {"epoch/loss": [(0, 2.0), (1, 1.5)]}
        assert reader.scalars("a/seed_1") == {"epoch/loss": [(0, 9.0)]}
        assert reader.metrics("a")["objective/mean"] == 0.5


def test_text(writer: DashboardWriter) -> None:
    writer.write_text("ranking", "first")
    writer.write_text("command", "keras-initx tune")
    writer.write_text("ranking", "# second ✓")
    reader = Reader(writer.logdir)
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
    def test_curves_have_the_depth_as_their_step(self, writer: DashboardWriter) -> None:
        writer.write_start("a", LAYERS)
        # The second layer has no finite value, so it has no point.
        assert Reader(writer.logdir).scalars("a") == {
            "signal/forward": [(1, 0.5), (3, 0.25)],
            "signal/backward": [(1, 2.0), (3, 1.0)],
        }

    def test_histograms_in_the_order_of_the_layers(self, writer: DashboardWriter) -> None:
        writer.write_start("a", LAYERS)
        assert Reader(writer.logdir).histograms() == {
            ("a", "weights/001 first/kernel"): [[0.0, 1.0, 4.0], [1.0, 3.0, 5.0]],
            ("a", "activations/002 second"): [[-1.0, 1.0, 7.0]],
        }

    def test_next_to_the_session(self, writer: DashboardWriter) -> None:
        writer.write_start("a", LAYERS)
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        writer.write_start("a", LAYERS[:1])
        reader = Reader(writer.logdir)
        assert reader.metrics("a")["objective/mean"] == 0.5
        assert reader.scalars("a")["signal/forward"] == [(1, 0.5)]
        assert len(files(writer.logdir / "a")) == 2

    def test_the_charts_of_custom_scalars_match_the_tags(self, writer: DashboardWriter) -> None:
        writer.write_start("a", LAYERS)
        writer.write_trial("a", VALUES, {0: 0.5}, "completed")
        reader = Reader(writer.logdir)
        (category,) = reader.layout().category
        drawn = [
            [tag for tag in reader.scalars("a") if re.search(pattern, tag)]
            for chart in category.chart
            for pattern in chart.multiline.tag
        ]
        assert drawn == [["signal/forward"], ["signal/backward"]]


def test_image(writer: DashboardWriter) -> None:
    writer.write_image("search/scores", PIXEL)
    writer.write_image("search/signal", PIXEL + b"x")
    writer.write_image("search/scores", PIXEL + b"y")
    assert Reader(writer.logdir).images() == {
        ("summary", "search/scores"): [b"2", b"1", PIXEL + b"y"],
        ("summary", "search/signal"): [b"2", b"1", PIXEL + b"x"],
    }
    with pytest.raises(ValueError, match="`png` must be the bytes of a PNG file, got b'GIF89a'"):
        writer.write_image("search/scores", b"GIF89a")
