"""A resumed search keeps its settings, except for the length of the search."""

import json
from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning.storage.results_folder import SearchFolders

from tests.support.search_folders import SETTINGS, refused

pytestmark = pytest.mark.one_backend


@pytest.mark.parametrize(
    ("name", "value"), [("epochs", 6), ("seeds", [0]), ("data", "xyz"), ("space", {}), ("extra", 1)]
)
def test_resume_with_other_settings_names_them(
    used: SearchFolders, tmp_path: Path, name: str, value: Any
) -> None:
    error = refused(used, tmp_path, {**SETTINGS, name: value}, mode="resume")
    assert error.argument == name
    assert error.received == ("no hyperparameter x" if name == "space" else value)
    changed = "must not change" if name == "space" else "as when the search began"
    assert str(error).startswith(f"`{name}` must ")
    assert changed in str(error)
    assert "only trials and extra_seeds may change" in str(error)


def test_resume_with_more_trials_and_a_newer_version(used: SearchFolders) -> None:
    changed = {**SETTINGS, "trials": 9, "version": "2"}
    assert used.open(changed, "resume") is True
    assert json.loads((used.results / "settings.json").read_text())["trials"] == 9
