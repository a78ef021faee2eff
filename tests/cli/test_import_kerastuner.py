"""`keras-initx import-kerastuner`, and the commands that take a folder of KerasTuner."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import keras_tuner_searches
from tests.support.commands import run
from tests.support.keras_tuner_searches import content

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search of KerasTuner, which no test may change."""
    folder = tmp_path_factory.mktemp("kerastuner")
    keras_tuner_searches.run(folder)
    return folder / "random"


def test_importance_of_a_keras_tuner_folder(searched: Path, capsys: Any) -> None:
    before = content(searched)
    code, out, _ = run(capsys, "importance", str(searched), "--json")
    assert code == 0
    assert json.loads(out)["importances"][0]["name"] == "units"
    assert content(searched) == before


def test_import(searched: Path, tmp_path: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "import-kerastuner", str(searched), str(tmp_path / "new"))
    assert code == 0
    assert "8 trials: 6 completed, 2 failed\n" in out
    (line,) = [line for line in out.splitlines() if line.startswith("Importances: keras-initx ")]
    assert run(capsys, *line.split()[2:])[0] == 0
    assert f"sqlite:///{tmp_path}/new/study.db" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["importance", "."],
            "error: DIR must be the folder of a search, which contains study.db, or of a ",
        ),
        (["import-kerastuner", "nowhere", "new"], "error: SRC 'nowhere' is not a folder."),
        (["import-kerastuner", "{}", "full"], "error: DIR 'full' holds other files."),
        (
            ["import-kerastuner", "{}", "new", "--objective", "auc"],
            "error: --objective must be a metric of the trials (accuracy, loss, val_accuracy), got",
        ),
    ],
)
def test_errors(
    searched: Path, tmp_path: Path, monkeypatch: Any, capsys: Any, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    code, _, err = run(capsys, *(a.format(searched) for a in arguments))
    assert code == 2
    assert err.startswith(message)
    assert len(err.splitlines()) == 1
    assert sorted(os.listdir()) == ["full"]
