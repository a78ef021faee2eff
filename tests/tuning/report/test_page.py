"""The report, read as a browser reads it: its numbers, what is missing, and that it loads nothing."""

import functools
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from keras_initx.tuning import write_report
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.offline import get_plotlyjs
from scipy import stats

from keras_initx import InitxError

pytestmark = pytest.mark.one_backend

NASTY = "<script>alert(1)</script><b>&amp;"
CHOICES = ("he_auto", "zeros", "auto", NASTY)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@functools.cache
def plotly() -> str:
    """What draws the plots, four megabytes of code."""
    return str(get_plotlyjs())


class Page(HTMLParser):
    """What stands on a page: its text, its tables cell by cell, its tags with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.words: list[str] = []
        self.code: list[str] = []
        self._inside = ""
        self.feed(self.source.replace(plotly(), ""))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "table" if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.code.append(data)
            return
        self.words.append(data)
        if self.tables and self.tables[-1] and self._inside in ("td", "th", "span", "small"):
            self.tables[-1][-1][-1] += data

    def table(self, header: str) -> dict[str, list[str]]:
        """The rows of the table with that column, by their first cell."""
        (found,) = [table for table in self.tables if header in table[0]]
        return {row[0]: row[1:] for row in found}


def seeds(*scores: float, test: float = 0.0) -> dict[str, Any]:
    """The attributes of a trial that ran so many seeds."""
    found = {}
    for seed, score in enumerate(scores):
        record = {"score": score, "best_epoch": 2, "epochs": 3, "seconds": 1.0}
        record["curves"] = {"loss": [3.0, 2.0, 1.0], "val_accuracy": [score / 2, score, score / 3]}
        found[f"seed_{seed}"] = record | ({"test": {"accuracy": score + test}} if test else {})
    return found


def trial(
    name: str, *scores: float, state: TrialState = TrialState.COMPLETE, **attributes: Any
) -> FrozenTrial:
    """A trial of an initializer, with a gain where it has one, and the scores of its seeds."""
    params: dict[str, Any] = {"initializer": name, "learning_rate": 0.001 * (1 + len(name))}
    distributions = {
        "initializer": CategoricalDistribution(CHOICES),
        "learning_rate": FloatDistribution(1e-4, 1, log=True),
    }
    if name.endswith("auto"):
        params["gain"], distributions["gain"] = 2.0, FloatDistribution(0.5, 4)
    return create_trial(
        state=state,
        value=float(np.mean(scores)) if state == TrialState.COMPLETE else None,
        params=params,
        distributions=distributions,
        user_attrs={**seeds(*scores, test=attributes.pop("test", 0.0)), **attributes},
        intermediate_values=dict(enumerate(scores)),
    )


def folder_of(tmp_path: Path, *trials: FrozenTrial, direction: str = "maximize", **attributes: Any) -> Path:
    """The folder of a search with these trials."""
    folder = tmp_path / "mine"
    folder.mkdir(exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}", study_name="keras-initx", direction=direction
    )
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["val_accuracy" if direction == "maximize" else "val_loss"])
    study.add_trials(trials)
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    return folder


ALL = (
    trial("he_auto", 0.90, 0.92, 0.94, test=-0.1),
    trial("zeros", 0.5, 0.6, 0.7, test=-0.1),
    trial("zeros", state=TrialState.PRUNED, ended="screened", reason="symmetric: alike"),
    trial("auto", 0.3, state=TrialState.PRUNED, ended="pruned", reason="behind after epoch 1"),
    trial("auto", state=TrialState.FAIL, reason=f"ValueError: {NASTY}"),
)


def test_the_numbers_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    page = Page(write_report(folder_of(tmp_path, *ALL)))
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
    # A trial that was pruned has a seed, but no result.
    assert page.table("seed 0")["0"] == [f"{s:.3f}epoch 2 of 3" for s in (0.90, 0.92, 0.94)]
    low, high = stats.t.interval(0.95, 2, loc=0.92, scale=stats.sem([0.90, 0.92, 0.94]))
    assert "5 trials: 2 completed, 1 screened before training, 1 pruned in training, 1 failed." in page.text
    assert f"val_accuracy 0.920 ± 0.020 (n=3), 95 % interval {low:.3f} to {high:.3f}." in page.text
    # Seed by seed on the test data: 0.4, 0.32 and 0.24.
    paired = stats.ttest_1samp([0.40, 0.32, 0.24], 0).confidence_interval(0.95)
    assert f"by 32.0 points (95 % interval {100 * paired.low:.1f} to {100 * paired.high:.1f})" in page.text


def test_what_ended_early_has_its_reason_and_its_text_stays_text(tmp_path: Path) -> None:
    page = Page(write_report(folder_of(tmp_path, *ALL, trial(NASTY, 0.1, 0.2, 0.3))))
    reasons = page.table("reason")
    assert reasons["2"] == ["screened", "symmetric: alike"]
    assert reasons["3"] == ["pruned", "behind after epoch 1"]
    assert reasons["4"] == ["failed", f"ValueError: {NASTY}"]
    assert f"initializer={NASTY}" in page.table("95 % interval")["5"][0]
    # Nowhere as it stands, in the code of the plots either, where Plotly would take it for bold.
    assert NASTY not in page.source
    assert not any("alert(1)</" in code or "<b>" in code for code in page.code)
    assert sum("alert(1)" in code for code in page.code) >= 2


def test_nothing_is_loaded_and_plotly_is_there_once(tmp_path: Path) -> None:
    page = Page(write_report(folder_of(tmp_path, *ALL)))
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
    # Curves of three trials, and five plots of Optuna's.
    assert page.source.count("Plotly.newPlot") == plotly().count("Plotly.newPlot") + 3 + 5


def plots(page: Page) -> list[list[dict[str, Any]]]:
    """The traces of each plot, in the order of the page."""
    starts = re.finditer(r'Plotly\.newPlot\(\s*"plot-\d+",\s*', page.source)
    return [json.JSONDecoder().raw_decode(page.source, start.end())[0] for start in starts]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_plots_have_the_numbers_and_the_best_in_blue(tmp_path: Path, direction: str) -> None:
    low, high = trial("zeros", 0.1, 0.2), trial("auto", 0.7, 0.9)
    pruned = trial("auto", 0.3, state=TrialState.PRUNED)
    folder = folder_of(tmp_path, low, high, pruned, direction=direction)
    charts = plots(Page(write_report(folder)))
    curves, (during, parallel, slices, history, timeline) = charts[:3], charts[3:]
    first = curves[0 if direction == "minimize" else 1]
    assert [(line["name"], line["x"], line["y"]) for line in first] == [
        ("seed 0", [1, 2, 3], [0.05, 0.1, 0.1 / 3]),
        ("seed 1", [1, 2, 3], [0.1, 0.2, 0.2 / 3]),
    ]
    assert [line["y"] for line in during] == [[0.1, 0.2], [0.7, 0.9], [0.3]]
    assert history[0]["y"] == [pytest.approx(0.15), pytest.approx(0.8)]
    assert {tuple(dots["y"]) for dots in slices if len(dots["y"]) > 1} == {tuple(history[0]["y"])}
    assert {bars["name"]: bars["marker"]["color"] for bars in timeline} == {
        "COMPLETE": "#0072B2",
        "PRUNED": "#E69F00",
    }
    colours = [line["line"]["color"] for line in parallel if line["mode"] == "lines"]
    blue, orange = "rgb(0, 114, 178)", "rgb(230, 159, 0)"
    assert colours == ([blue, orange] if direction == "minimize" else [orange, blue])
    (scale,) = [trace["marker"] for trace in parallel if trace["mode"] == "markers"]
    assert scale.get("reversescale", False) == (direction == "minimize")
    assert scale["colorscale"][-1][1].lower() == "#0072b2"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: chromium)")
def test_a_browser_draws_every_plot_without_a_network(tmp_path: Path) -> None:
    path = write_report(folder_of(tmp_path, *ALL, trial(NASTY, 0.1, 0.2, 0.3)))
    drawn = browse(path, tmp_path)
    # Curves of the trials with seeds, which are 0, 1, 3 and 5, and five plots of Optuna's.
    assert drawn.count("plotly-graph-div js-plotly-plot") == 4 + 5
    assert len(re.findall(r'class="[^"]*svg-container', drawn)) == 4 + 5
    # As it is called, also where Plotly writes it.
    assert f">{html.escape(NASTY, quote=False)}</text>" in drawn


def browse(path: Path, tmp_path: Path) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    offline = [f"--user-data-dir={tmp_path / 'browser'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    options = [*command, *offline, "--virtual-time-budget=10000", "--dump-dom", path.as_uri()]
    done = subprocess.run(options, capture_output=True, text=True, timeout=120, check=True)
    assert not re.search(r"CONSOLE.*", done.stderr), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        ((), ["No trial has begun.", "There are none.", "no score to draw"]),
        (
            (trial("he_auto", 0.9, 0.92),),
            ["1 trial: 1 completed.", "No other trial is completed", "one trial is completed"],
        ),
        (
            (trial("he_auto", 0.9), trial("zeros", 0.5)),
            ["One seed of each trial says nothing about chance."],
        ),
        (
            (trial("zeros", state=TrialState.FAIL, reason="it broke"),) * 2,
            ["2 trials: 2 failed.", "No trial is completed, so there is no best one.", "it broke"],
        ),
        (
            (trial("he_auto", 0.9, 0.91), trial("auto", 0.8, state=TrialState.RUNNING)),
            ["1 running or interrupted", "The search is not finished", "val_accuracy 0.905"],
        ),
        (
            (trial("he_auto", 0.9, 0.9), trial("zeros", 0.9, 0.9)),
            ["two completed trials of different scores", "every run of each gave the same score"],
        ),
    ],
    ids=["nothing", "one", "one-seed", "all-failed", "running", "all-alike"],
)
def test_little_to_show_is_said(tmp_path: Path, trials: tuple[FrozenTrial, ...], says: list[str]) -> None:
    page = Page(write_report(folder_of(tmp_path, *trials)))
    for sentence in says:
        assert sentence in page.text
    assert "nan" not in re.sub(r"\w*nan\w+|\w+nan", "", page.text)
    # Plotly's four megabytes are for plots.
    assert (plotly() in page.source) == bool(trials)


def test_a_parameter_that_only_some_have_and_one_alone(tmp_path: Path) -> None:
    page = Page(write_report(folder_of(tmp_path, *ALL)))
    assert "Left out, since only some of the trials have it: gain." in page.text
    assert set(page.table("share")) == {"hyperparameter", "initializer", "learning_rate"}
    assert "2 completed trials are few for 2 hyperparameters" in page.text
    rate = {"rate": FloatDistribution(0, 1)}
    alone = [create_trial(value=v, params={"rate": v}, distributions=rate) for v in (0.1, 0.5, 0.9)]
    folder = tmp_path / "alone"
    folder.mkdir()
    page = Page(write_report(folder_of(folder, *alone)))
    # No seeds: one value for each trial, as a study of others has it.
    assert "Best: trial 2 (rate=0.9), val_accuracy 0.900." in page.text
    assert "no seeds, which says nothing about chance" in page.text
    assert list(page.table("share")) == ["hyperparameter", "rate"]
    assert [cells[1] for cells in list(page.table("95 % interval").values())[1:]] == [
        "0.900",
        "0.500",
        "0.100",
    ]


def test_no_hyperparameter_at_all(tmp_path: Path) -> None:
    bare = [create_trial(value=v) for v in (0.1, 0.2)]
    page = Page(write_report(folder_of(tmp_path, *bare)))
    assert page.text.count("No hyperparameter was searched.") >= 2


def test_the_lowest_loss_is_the_best(tmp_path: Path) -> None:
    page = Page(
        write_report(
            folder_of(
                tmp_path, trial("zeros", 2.0, 2.2), trial("he_auto", 0.00012, 0.00014), direction="minimize"
            )
        )
    )
    assert "Best: trial 1" in page.text
    rows = page.table("95 % interval")
    assert list(rows)[1:] == ["1", "0"]
    # Three digits after the point would be zeros; and no interval is cut at 1 that is none of shares.
    assert rows["1"][1] == "0.00013"
    assert float(rows["0"][3].split()[-1]) > 2.2


def test_the_race_decides_and_has_its_seeds(tmp_path: Path) -> None:
    race = {f"race_{n}_{s}": seeds(score)["seed_0"] for n, score in ((0, 0.80), (1, 0.95)) for s in (7, 8)}
    page = Page(
        write_report(folder_of(tmp_path, trial("he_auto", 0.9, 0.94), trial("auto", 0.89, 0.92), **race))
    )
    assert "Best: trial 1 " in page.text
    assert page.tables[1][0] == ["trial", "seed 0", "seed 1", "seed 7*", "seed 8*"]
    assert page.table("seed 7*")["1"][2] == "0.950epoch 2 of 3"
    assert "no more than 2 seeds each, which tell nothing yet" in page.text


def test_machine_versions_and_settings_are_those_of_the_search(tmp_path: Path) -> None:
    searched = {"versions": {"keras": "1.2.3"}, "cpu": "An abacus", "cores": 77, "gpus": ["A", "B"]}
    space = {"learning_rate": {"min_value": 0.1, "max_value": 0.3, "sampling": "log"}}
    settings = {"seeds": [5, 6], "seed": 0, "screening": False, "patience": None, "space": space}
    settings["storage"] = "postgresql://me:sesame@host/db"
    page = Page(write_report(folder_of(tmp_path, *ALL, machine_0a=searched, settings=settings)))
    told = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert told["keras"] == "1.2.3"
    assert (told["cpu"], told["cores"], told["gpus"]) == ("An abacus", "77", "A, B")
    assert (told["seeds"], told["seed"], told["screening"]) == ("5, 6", "0", "False")
    assert "patience" not in told
    assert told["searched: learning_rate"] == "0.1 to 0.3 (logarithmic)"
    assert told["storage"] == "postgresql://me:***@host/db"


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    page = Page(write_report(folder_of(tmp_path, *ALL)))
    assert "The study does not tell: the search was none of keras-initx" in page.text
    assert "The study has no settings of a search." in page.text


def test_a_password_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, *ALL)
    monkeypatch.chdir(tmp_path)
    # SQLite takes no notice of it.
    url = f"sqlite:///file:{folder / 'study.db'}?uri=true&password=sesame"
    path = write_report(url, tmp_path / "out.html")
    source = path.read_text(encoding="utf-8")
    assert "sesame" not in source
    assert "&amp;password=***" in source
    with pytest.raises(InitxError) as error:
        write_report(url, study_name="none")
    assert "sesame" not in str(error.value)


def test_a_storage_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, *ALL)
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{folder / 'study.db'}"
    assert write_report(url) == Path("report.html")
    assert Page(tmp_path / "report.html").table("reason")["2"][0] == "screened"
    optuna.create_study(storage=url, study_name="other")
    with pytest.raises(InitxError, match=r"^study_name: received None; .*keras-initx, other"):
        write_report(url)
    assert "No trial has begun." in Page(write_report(url, study_name="other")).text
    # A study has the name of its folder, and need not lie in it.
    (tmp_path / "other").mkdir()
    assert write_report("other", storage=url) == Path("other/report.html")
    assert "No trial has begun." in Page(Path("other/report.html")).text
    with pytest.raises(InitxError, match=r"^storage: .*None, since source is a storage itself"):
        write_report(url, storage=url)


@pytest.mark.parametrize("url", ["sqlite:///missing.db", "missing.journal"])
def test_nothing_is_made_where_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InitxError, match=r"^storage: .*missing.*a file that is there"):
        write_report(url)
    with pytest.raises(InitxError, match=r"^source: .*'nowhere'.*study\.db"):
        write_report("nowhere")
    assert not list(tmp_path.iterdir())


def test_the_file_is_written_whole_and_replaces_only_a_report(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *ALL[:2])
    first = write_report(folder)
    assert first == folder / "report.html"
    assert write_report(folder) == first
    assert sorted(p.name for p in folder.iterdir()) == ["report.html", "study.db"]
    (tmp_path / "thesis.html").write_text("mine")
    for out, says in (
        (tmp_path / "thesis.html", "a new file, or an earlier report"),
        (tmp_path, "It is a folder"),
        (tmp_path / "no" / "page.html", "There is no folder"),
    ):
        with pytest.raises(InitxError, match=f"^out: .*{says}"):
            write_report(folder, out)
    assert (tmp_path / "thesis.html").read_text() == "mine"


def test_several_objectives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'two' / 'study.db'}", directions=["minimize", "maximize"]
    )
    with pytest.raises(InitxError, match=r"^source: .*a study with one objective"):
        write_report(tmp_path / "two")


def test_a_trial_that_was_one_too_many_is_left_out_and_the_others_keep_their_numbers(tmp_path: Path) -> None:
    surplus = create_trial(state=TrialState.FAIL, user_attrs={"surplus": True})
    waiting = create_trial(state=TrialState.WAITING)
    page = Page(write_report(folder_of(tmp_path, surplus, trial("auto", 0.8, 0.9), waiting)))
    assert "1 trial: 1 completed." in page.text
    assert list(page.table("95 % interval"))[1:] == ["1"]
    timeline = {bars["name"]: bars["y"] for bars in plots(page)[-1]}
    assert timeline["COMPLETE"] == [1]
    assert "WAITING" not in timeline


def test_the_search_itself(quick: Any, tmp_path: Path) -> None:
    quick(initializers=["he_auto", "zeros"], learning_rates=[0.05], trials=2, tuner="grid")
    page = Page(write_report(tmp_path / "results"))
    told = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert told["keras"]
    assert int(told["cores"]) > 0
    assert told["seeds"] == "0, 1"
    assert told["searched: initializer"] == "he_auto, zeros"
    assert page.table("reason").keys() - {"trial"}
