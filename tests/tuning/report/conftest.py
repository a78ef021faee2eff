"""Report pages that several tests read."""

from pathlib import Path

import pytest
from keras_initx.tuning import write_report

from tests.support.report_page import ALL, NASTY, Page, folder_of, trial


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of a study with trials of every status, and without settings or machine."""
    return Page(write_report(folder_of(tmp_path_factory.mktemp("all"), *ALL)))


@pytest.fixture(scope="session")
def nasty_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the same page with one more trial, whose initializer is named in HTML."""
    return write_report(folder_of(tmp_path_factory.mktemp("nasty"), *ALL, trial(NASTY, 0.1, 0.2, 0.3)))
