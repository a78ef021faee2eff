"""Event files as TensorBoard's own reader loads them."""

import math

import pytest

from keras_initx._event_files import EventFile, Histogram, file_name, histogram, is_finite, scalar
from tests.support.tensorboard_reader import Reader

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def test_what_is_written_is_read(tmp_path):
    events = EventFile(tmp_path / "new" / "run")
    events.write(3, [scalar("loss", 0.5), histogram("kernel", Histogram((0.0, 1.0, 2.0), (4, 1)))])
    events.write(4, [scalar("loss", 0.25)])
    reader = Reader(tmp_path / "new")
    assert reader.scalars("run")["loss"] == [(3, 0.5), (4, 0.25)]
    assert reader.histograms()["run", "kernel"] == [[0.0, 1.0, 4.0], [1.0, 2.0, 1.0]]


def test_a_later_file_sorts_last(monkeypatch):
    names = []
    for now in (999_999_999, 10**9, 2 * 10**18 + 5, 2 * 10**18 + 30):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        names.append(file_name("x"))
    assert names == sorted(names)


@pytest.mark.parametrize(("value", "finite"), [(1.0, True), (-3e38, True), (1e39, False), (math.nan, False)])
def test_a_number_that_overflows_32_bits_is_not_finite(value, finite):
    assert is_finite(value) is finite
    stored = scalar("a", value).value[0].tensor.float_val[0]
    assert math.isfinite(stored) is finite
