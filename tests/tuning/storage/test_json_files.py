"""JSON files have no NaN, and are replaced atomically."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_initx.tuning.storage.json_files import write_json

pytestmark = pytest.mark.one_backend


@pytest.mark.parametrize("step", ["serialize", "replace"])
def test_file_is_replaced_atomically(tmp_path: Path, monkeypatch: Any, step: str) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def dies(*args: Any) -> None:
        # The new content is complete in the other file.
        (partial,) = tmp_path.glob("partial.*.a.json")
        assert json.loads(partial.read_text()) == {"new": 2}
        raise KeyboardInterrupt

    if step == "serialize":
        with pytest.raises(TypeError):
            write_json(path, {"new": object()})
    else:
        monkeypatch.setattr("os.replace", dies)
        with pytest.raises(KeyboardInterrupt):
            write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    write_json(
        tmp_path / "a.json", {"a": [float("nan"), 1.5, (np.inf, -np.inf)], "b": {"c": np.float64("nan")}}
    )
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"a": [None, 1.5, [None, None]], "b": {"c": None}}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_an_earlier_file_may_stay(tmp_path: Path, monkeypatch: Any, links: bool) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    for content in ({"first": 1}, {"second": 2}):
        write_json(tmp_path / "a.json", content, keep=True)
    assert json.loads((tmp_path / "a.json").read_text()) == {"first": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
