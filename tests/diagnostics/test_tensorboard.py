"""`report.log()`: every figure at the step of its layer."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from keras_initx import InitxError, initialize
from keras_initx.diagnostics import diagnose
from tests.support.networks import data, dense

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


class TestLog:
    @pytest.mark.usefixtures("compiled_pass")
    def test_every_figure_of_every_layer_at_its_step(self, tmp_path):
        model = dense(depth=2)
        first = diagnose(model, data(16, 8))
        first.log(tmp_path)
        initialize(model, seed=0)
        second = diagnose(model, data(16, 8))
        second.log(tmp_path, step=7)
        accumulator = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
        accumulator.Reload()
        for number in range(3):
            for title, figure in (
                ("signal std", "std"),
                ("gradient rms", "gradient_rms"),
                ("dead units", "dead"),
            ):
                expected = [getattr(report.rows[number], figure) for report in (first, second)]
                if np.isnan(expected[0]):
                    continue
                events = accumulator.Tensors(f"{title}/{number + 1:03d} {first.rows[number].path}")
                assert [event.step for event in events] == [0, 7]
                assert [make_ndarray(e.tensor_proto).item() for e in events] == pytest.approx(
                    expected, rel=1e-6
                )
        (text, _) = accumulator.Tensors("diagnosis")
        assert "no problems found" in make_ndarray(text.tensor_proto).item().decode()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((3,), "`logdir` must be a folder for TensorBoard, .*, got 3"),
            (("runs", 1.5), "`step` must be an integer, got 1.5"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(InitxError, match=message):
            diagnose(dense(depth=1), data(16, 8)).log(*arguments)

    def test_a_folder_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(
            InitxError, match=r"`logdir` '.*run' cannot be written to .*Choose another folder"
        ):
            diagnose(dense(depth=1), data(16, 8)).log(tmp_path / "file" / "run")
