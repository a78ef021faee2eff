"""Test the report page: its numbers, its texts, and that it loads nothing."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import optuna
import pytest
from keras_initx.tuning import SearchResult, write_report
from scipy import stats

from keras_initx import InitxError
from tests.support.report_page import ALL, NASTY, Page, folder_of, plotly

pytestmark = pytest.mark.one_backend

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_the_numbers_equal_those_computed_by_hand(page: Page) -> None:
    rows = page.table("95 % interval")
    for number, scores in ((0, [0.90, 0.92, 0.94]), (1, [0.5, 0.6, 0.7])):
        low, high = stats.t.interval(0.95, 2, loc=np.mean(scores), scale=stats.sem(scores))
        cells = rows[str(number)]
        assert cells[1] == f"{np.mean(scores):.3f}"
        assert cells[2] == f"{np.std(scores, ddof=1):.3f}"
        assert cells[3] == f"{low:.3f} to {high:.3f}"
        assert cells[4] == "3"
        assert cells[5] == f"{np.mean(scores) - 0.1:.3f} ± {np.std(scores, ddof=1):.3f}"
    assert [rows[str(n)][-1] for n in range(5)] == [
        "completed, the best", "completed", "screened", "pruned", "failed",
    ]  # fmt: skip
    assert list(rows)[1:3] == ["0", "1"]
    # Trial 3 was pruned: it has a seed, but no result.
    assert page.table("seed 0")["0"] == [f"{s:.3f}epoch 2 of 3" for s in (0.90, 0.92, 0.94)]
    low, high = stats.t.interval(0.95, 2, loc=0.92, scale=stats.sem([0.90, 0.92, 0.94]))
    assert "5 trials: 2 completed, 1 screened before training, 1 pruned in training, 1 failed." in page.text
    assert f"val_accuracy 0.920 ± 0.020 (n=3), 95 % interval {low:.3f} to {high:.3f}." in page.text
    # Seed by seed on the test data: 0.4, 0.32 and 0.24.
    paired = stats.ttest_1samp([0.40, 0.32, 0.24], 0).confidence_interval(0.95)
    assert f"by 32.0 points (95 % interval {100 * paired.low:.1f} to {100 * paired.high:.1f})" in page.text


def test_trials_that_ended_early_have_reasons_and_texts_are_escaped(nasty_report: Path) -> None:
    page = Page(nasty_report)
    reasons = page.table("reason")
    assert reasons["2"] == ["screened", "symmetric: alike"]
    assert reasons["3"] == ["pruned", "behind after epoch 1"]
    assert reasons["4"] == ["failed", f"ValueError: {NASTY}"]
    assert f"initializer={NASTY}" in page.table("95 % interval")["5"][0]
    # Escaped everywhere, also in the code of the plots, where Plotly would interpret it as bold.
    assert NASTY not in page.source
    assert not any("alert(1)</" in code or "<b>" in code for code in page.code)
    assert sum("alert(1)" in code for code in page.code) >= 2


def test_the_page_loads_nothing_and_contains_plotly_once(page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"link", "img", "iframe", "object", "embed", "form", "a", "base", "video", "audio", "source"}
    )
    assert not [name for _, attrs in page.tags for name in attrs if name in ("src", "href", "srcset")]
    styles = re.findall(r"<style>(.*?)</style>", page.source.replace(plotly(), ""), re.DOTALL)
    assert len(styles) == 1
    assert "url(" not in styles[0] + "".join(str(attrs.get("style")) for _, attrs in page.tags)
    assert "@import" not in styles[0]
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert page.source.count(plotly()) == 1
    # Learning curves of three trials, and Optuna's five plots.
    assert page.source.count("Plotly.newPlot") == plotly().count("Plotly.newPlot") + 3 + 5


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: chromium)")
def test_a_browser_draws_every_plot_without_a_network(nasty_report: Path, tmp_path: Path) -> None:
    drawn = browse(nasty_report, tmp_path)
    # Learning curves of the trials with seeds (0, 1, 3 and 5), and Optuna's five plots.
    assert drawn.count("plotly-graph-div js-plotly-plot") == 4 + 5
    assert len(re.findall(r'class="[^"]*svg-container', drawn)) == 4 + 5
    # Plotly shows the name unchanged.
    assert f">{html.escape(NASTY, quote=False)}</text>" in drawn


def browse(path: Path, tmp_path: Path) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    offline = [f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    options = [*command, *offline, "--virtual-time-budget=10000", "--dump-dom", path.as_uri()]
    done = subprocess.run(options, capture_output=True, text=True, timeout=1000, check=True)
    assert not re.search(r"CONSOLE.*", done.stderr), done.stderr
    return done.stdout


def test_machine_versions_and_settings_are_those_of_the_search(tmp_path: Path) -> None:
    searched = {"versions": {"keras": "1.2.3"}, "cpu": "An abacus", "cores": 77, "gpus": ["A", "B"]}
    space = {"learning_rate": {"min_value": 0.1, "max_value": 0.3, "sampling": "log"}}
    settings = {"seeds": [5, 6], "seed": 0, "screening": False, "patience": None, "space": space}
    settings["storage"] = "postgresql://me:sesame@host/db"
    page = Page(write_report(folder_of(tmp_path, *ALL, machine_0a=searched, settings=settings)))
    values = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert values["keras"] == "1.2.3"
    assert (values["cpu"], values["cores"], values["gpus"]) == ("An abacus", "77", "A, B")
    assert (values["seeds"], values["seed"], values["screening"]) == ("5, 6", "0", "False")
    assert "patience" not in values
    assert values["searched: learning_rate"] == "0.1 to 0.3 (logarithmic)"
    assert values["storage"] == "postgresql://me:***@host/db"


def test_a_study_without_machine_and_settings(page: Page) -> None:
    assert "The study records no machine: another program ran the search" in page.text
    assert "The study contains no settings of a search." in page.text


def test_the_page_contains_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, *ALL)
    monkeypatch.chdir(tmp_path)
    # SQLite ignores the password.
    url = f"sqlite:///file:{folder / 'study.db'}?uri=true&password=sesame"
    path = write_report(url, tmp_path / "out.html")
    source = path.read_text(encoding="utf-8")
    assert "sesame" not in source
    assert "&amp;password=***" in source
    with pytest.raises(InitxError) as error:
        write_report(url, study_name="none")
    assert "sesame" not in str(error.value)


def test_a_report_replaces_only_a_report(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ALL[:2])
    first = write_report(folder)
    assert first == folder / "report.html"
    assert write_report(folder) == first
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "study.db"]
    (tmp_path / "thesis.html").write_text("mine")
    for out, text in (
        (tmp_path / "thesis.html", "a new file or an earlier report, got .*thesis"),
        (tmp_path, "the path of a file, got .* It is a folder"),
        (tmp_path / "no" / "page.html", "a file in an existing folder, got .* does not exist"),
    ):
        with pytest.raises(InitxError, match=rf"^`out` must be .*{text}"):
            write_report(folder, out)
    assert (tmp_path / "thesis.html").read_text() == "mine"


def test_several_objectives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'two' / 'study.db'}", directions=["minimize", "maximize"]
    )
    with pytest.raises(
        InitxError, match=r"^`source` must be a study with one objective, got .* It has 2 objectives\."
    ):
        write_report(tmp_path / "two")


def test_the_page_of_a_search(screened_search: SearchResult, tmp_path: Path) -> None:
    page = Page(write_report(screened_search.folders.results, tmp_path / "report.html"))
    values = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert values["keras"]
    assert int(values["cores"]) > 0
    assert values["seeds"] == "0, 1"
    assert values["searched: initializer"] == "zeros, auto"
    assert page.table("reason").keys() - {"trial"}
