"""Test `keras-initx report` on the folder and on the storage of a search."""

import re

import pytest

from tests.support.commands import run

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def test_the_report_of_a_folder_and_of_a_storage(capsys, in_a_copy, monkeypatch):
    # The variable belongs to other searches: this one has its study in its folder.
    monkeypatch.setenv("KERAS_INITX_STORAGE", "postgresql://me:sesame@nowhere/db")
    code, out, err = run(capsys, "report", "results/tune")
    assert (code, out, err) == (0, "Report: results/tune/report.html\n", "")
    page = (in_a_copy / "results/tune/report.html").read_text()
    assert "6 trials: 4 completed, 2 screened before training." in page
    assert "sesame" not in page
    code, out, _ = run(capsys, "report", "sqlite:///results/tune/study.db", "--out", "mine.html")
    assert (code, out) == (0, "Report: mine.html\n")


def test_bad_input_is_one_line(capsys, in_a_copy, monkeypatch):
    monkeypatch.delenv("KERAS_INITX_STORAGE", raising=False)
    (in_a_copy / "other.html").write_text("mine")
    for arguments, message in (
        (["nowhere", "--storage", "missing.journal"], r"--storage must be an existing file, got 'missing\."),
        (["results"], r"DIR must be the folder of a search, which contains study\.db, .*, got 'results'"),
        (["results/tune", "--out", "other.html"], r"--out must be a new file or .*, got 'other\.html'"),
        (["sqlite:///results/tune/study.db", "--study-name", "no"], r"--study-name must be .*, got 'no'"),
    ):
        code, out, err = run(capsys, "report", *arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert re.match(f"error: {message}", err), err


def test_the_variable_names_the_storage_of_a_folder_without_a_study(capsys, in_a_copy, monkeypatch):
    (in_a_copy / "empty").mkdir()
    monkeypatch.setenv("KERAS_INITX_STORAGE", "sqlite:///results/tune/study.db")
    _, _, err = run(capsys, "report", "empty")
    assert err.startswith("error: DIR must be a folder named after a study of its storage (keras-initx)")
