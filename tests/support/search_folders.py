"""The folders of a search, with its settings and files."""

from pathlib import Path
from typing import Any

import pytest
from keras_initx.tuning.storage.results_folder import SearchFolders

from keras_initx import InitxError

SETTINGS: dict[str, Any] = {
    "version": "1",
    "data": "abc",
    "space": {"x": {"values": (1, 2)}},
    "trials": 3,
    "epochs": 5,
    "seeds": [0, 1],
}


OURS = [
    "study.db",
    "study.db-journal",
    "results.json",
    "best_model.keras",
    "partial.results.json",
    "tuner0.json",
    "oracle.json",
    "trial_0000/best_3.weights.h5",
    "trial_0000/partial.best_4.weights.h5",
    "trial_0001/trial.json",
]


LOGS = [
    "events.out.tfevents.1.experiment.keras_initx",
    "trial_0000/seed_0/events.out.tfevents.1.seed.keras_initx",
]


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def refused(
    folders: SearchFolders,
    tmp_path: Path,
    settings: Any = SETTINGS,
    mode: Any = "new",
):
    before = content(tmp_path)
    with pytest.raises(InitxError) as caught:
        folders.open(settings, mode)
    assert content(tmp_path) == before
    return caught.value
