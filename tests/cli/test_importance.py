"""Test `keras-initx importance`: its table, its JSON and its warning of few trials."""

import json

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


def test_a_folder_without_a_search(capsys, in_a_new_folder):
    code, out, err = run(capsys, "importance", "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("error: DIR must be the folder of a search, which contains study.db")
