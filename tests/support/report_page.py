"""A report page as a browser reads it, and studies to report."""

import functools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from plotly.offline import get_plotlyjs

NASTY = "<script>alert(1)</script><b>&amp;"
CHOICES = ("he_auto", "zeros", "auto", NASTY)


@functools.cache
def plotly() -> str:
    """Return the four megabytes of code that draw the plots."""
    return str(get_plotlyjs())


class Page(HTMLParser):
    """The content of a page: its text, its tables cell by cell, its tags with their attributes."""

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
        """Return the rows of the table with that column, by their first cell."""
        (table,) = [table for table in self.tables if header in table[0]]
        return {row[0]: row[1:] for row in table}


def seeds(*scores: float, test: float = 0.0) -> dict[str, Any]:
    """Return the attributes of a trial with one seed for each score."""
    attributes = {}
    for seed, score in enumerate(scores):
        record = {"score": score, "best_epoch": 2, "epochs": 3, "seconds": 1.0}
        record["curves"] = {"loss": [3.0, 2.0, 1.0], "val_accuracy": [score / 2, score, score / 3]}
        attributes[f"seed_{seed}"] = record | ({"test": {"accuracy": score + test}} if test else {})
    return attributes


def trial(
    name: str, *scores: float, state: TrialState = TrialState.COMPLETE, **attributes: Any
) -> FrozenTrial:
    """Return a trial of an initializer (and of a gain if it takes one) with the scores of its seeds."""
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
    """Create the folder of a search with these trials, and return it."""
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


def plots(page: Page) -> list[list[dict[str, Any]]]:
    """Return the traces of each plot, in the order of the page."""
    starts = re.finditer(r'Plotly\.newPlot\(\s*"plot-\d+",\s*', page.source)
    return [json.JSONDecoder().raw_decode(page.source, start.end())[0] for start in starts]
