"""Test `keras-initx importance`: its table, its JSON and its warning of few trials."""

import json
from pathlib import Path

import optuna
import pytest

from tests.support.commands import run

pytestmark = pytest.mark.one_backend


def test_a_table_with_a_note_and_json(capsys, in_a_copy):
    code, out, _ = run(capsys, "importance", "results/tune")
    assert code == 0
    assert "initializer" in out
    assert "Note: 4 completed trials are few for 3 hyperparameters" in out
    code, out, _ = run(capsys, "importance", "results/tune", "--json")
    assert code == 0
    content = json.loads(out)
    assert {row["name"] for row in content["importances"]} == {"initializer", "activation", "learning_rate"}
    assert content["warning"].startswith("4 completed trials are few")


def test_a_storage_outside_the_folder_is_opened_if_it_is_named(capsys, in_a_copy):
    study, settings = Path("results/tune/study.db"), Path("results/tune/settings.json")
    optuna.copy_study(
        from_study_name="keras-initx",
        from_storage=f"sqlite:///{study}",
        to_storage="sqlite:///other.db",
        to_study_name="tune",
    )
    study.unlink()
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "storage": "sqlite:///other.db"}))
    code, out, err = run(capsys, "importance", "results/tune")
    assert (code, out) == (2, "")
    assert "pass it as --storage" in err
    code, out, _ = run(capsys, "importance", "results/tune", "--storage", "sqlite:///other.db")
    assert code == 0
    assert "initializer" in out


def test_a_folder_without_a_search(capsys, in_a_new_folder):
    code, out, err = run(capsys, "importance", "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("error: DIR must be the folder of a search, which contains study.db")
