"""Test which study a folder or a storage leads to."""

from pathlib import Path

import optuna
import pytest
from keras_initx.tuning import contains_study, write_report

from keras_initx import InitxError
from tests.support.report_page import ALL, Page, folder_of

pytestmark = [pytest.mark.check, pytest.mark.one_backend]


def test_a_storage_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, *ALL)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{folder / 'study.db'}"
    assert contains_study(url)
    assert contains_study(folder)
    assert not contains_study(tmp_path)
    assert write_report(url) == Path("report.html")
    assert Page(tmp_path / "report.html").table("reason")["2"][0] == "screened"
    optuna.create_study(storage=url, study_name="other")
    with pytest.raises(
        InitxError, match=r"^`study_name` must be a study of the storage \(keras-initx, other\), got None\."
    ):
        write_report(url)
    assert "No trial has begun." in Page(write_report(url, study_name="other")).text
    # A study can be named after a folder and be kept elsewhere.
    (tmp_path / "other").mkdir()
    assert write_report("other", storage=url) == Path("other/report.html")
    assert "No trial has begun." in Page(Path("other/report.html")).text
    with pytest.raises(InitxError, match=r"^`storage` must be None, since `source` is a storage itself, got"):
        write_report(url, storage=url)


@pytest.mark.parametrize("url", ["sqlite:///missing.db", "missing.journal"])
def test_nothing_is_created_for_a_storage_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InitxError, match=r"^`storage` must be an existing file, got .*missing"):
        write_report(url)
    with pytest.raises(
        InitxError,
        match=r"^`source` must be the folder of a search, which contains study\.db, .*, got 'nowhere'",
    ):
        write_report("nowhere")
    assert not list(tmp_path.iterdir())
