"""The plots of a report: Optuna's own of a study, and the learning curves of each trial."""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import optuna
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..storage import quiet_optuna
from ..study import ENDING_ATTRIBUTE, REASON_ATTRIBUTE, TrialResult, started_trials

# Okabe and Ito's colours, which differ for colour-blind readers too, without black and yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_OF_STATES = {
    "COMPLETE": "#0072B2",
    "FAIL": "#D55E00",
    "PRUNED": "#E69F00",
    "RUNNING": "#009E73",
    "WAITING": "#999999",
}
# From bad to good, or from early to late. The light end of Optuna's blues cannot be seen on paper, the dark
# one not on a dark page.
_SCALE = ("#E69F00", "#A39C8C", "#0072B2")
# A figure of more is wider than a sheet of paper.
_SLICES = 3
_NAMED = 12


@dataclass(frozen=True)
class Plot:
    """A plot, or why there is none.

    Attributes:
        html: The plot, for a page that has plotly.js; "" where it cannot be drawn.
        reason: Why it cannot; "" where it is there.
        title: What stands above it.
        note: What it leaves out.
    """

    html: str = ""
    reason: str = ""
    title: str = ""
    note: str = ""


@dataclass
class Figures:
    """Makes the plots of one page, each under an id of its own.

    Args:
        study: The study; it is only read.
        target_name: What its values are.
    """

    study: optuna.Study
    target_name: str
    _ids: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._begun = started_trials(self.study.get_trials(deepcopy=False))
        self._done = [
            t for t in self._begun if t.state == TrialState.COMPLETE and np.isfinite(t.value or 0.0)
        ]
        self._label = _escaped(self.target_name)
        with quiet_optuna():
            self._copy = _copy(self.study, self._begun)

    @property
    def drawn(self) -> bool:
        """Whether any plot has been made."""
        return next(self._ids) > 0

    def history(self) -> Plot:
        """The value of each trial, and the best so far."""
        if not self._done:
            return Plot(reason="No trial is completed, so there is no score to draw.")
        return self._optuna(visualization.plot_optimization_history, target_name=self._label)

    def parallel_coordinates(self) -> Plot:
        """A line for each completed trial, across an axis for each hyperparameter."""
        if reason := self._too_little():
            return Plot(reason=reason)
        plot = self._optuna(
            visualization.plot_parallel_coordinate, self._recolour_lines, target_name=self._label
        )
        searched = {name for trial in self._done for name in trial.params}
        lacking = sum(len(trial.params) < len(searched) for trial in self._done)
        # Optuna 5 draws them all, in another kind of plot.
        if lacking and "parcoords" in plot.html:
            note = (
                f"Without {lacking} trials that have not all of these hyperparameters: Optuna 5 draws them."
            )
            return replace(plot, note=note)
        return plot

    def slices(self) -> list[Plot]:
        """The scores against each hyperparameter."""
        if reason := self._too_little():
            return [Plot(reason=reason)]
        names = sorted({_escaped(name) for trial in self._done for name in trial.params})
        return [
            self._optuna(
                visualization.plot_slice,
                lambda figure: figure.update_traces(marker_colorscale=_SCALE),
                params=names[i : i + _SLICES],
                target_name=self._label,
            )
            for i in range(0, len(names), _SLICES)
        ]

    def timeline(self) -> Plot:
        """When each trial ran."""
        if not self._begun:
            return Plot(reason="No trial has begun.")
        return self._optuna(visualization.plot_timeline, _recolour_bars)

    def intermediate_values(self) -> Plot:
        """The objective during training, in every trial that stored it."""
        if not any(trial.intermediate_values for trial in self._begun):
            return Plot(reason="No trial stored a value during its training.")
        return self._optuna(
            visualization.plot_intermediate_values,
            self._with_names,
        )

    def _with_names(self, figure: Any) -> None:
        figure.update_yaxes(title_text=self._label)
        figure.update_xaxes(title_text="epoch", tickformat="d")
        # Names of more lines than these say nothing.
        figure.update_layout(showlegend=len(figure.data) <= _NAMED)

    def curves(self, trial: TrialResult, metric: str, span: tuple[float, float] | None) -> Plot:
        """The learning curves of one trial, a line for each seed.

        Args:
            trial: The trial.
            metric: Which of its curves.
            span: From where to where the axis goes; None fits it to this trial.
        """
        from plotly import graph_objects

        figure = graph_objects.Figure()
        for place, (seed, record) in enumerate(trial.seeds.items()):
            values = record.get("curves", {}).get(metric, [])
            figure.add_scatter(
                x=list(range(1, len(values) + 1)),
                y=values,
                name=f"seed {seed}",
                mode="lines+markers" if len(values) == 1 else "lines",
                line={"color": COLOURS[place % len(COLOURS)], "dash": _dash(place), "width": 1.5},
            )
        figure.update_xaxes(title_text="epoch")
        figure.update_yaxes(range=span)
        figure.update_layout(height=220, margin={"l": 45, "r": 10, "t": 10, "b": 40}, showlegend=False)
        return Plot(self._html(figure), title=f"trial {trial.number}")

    def _too_little(self) -> str:
        if len(self._done) < 2:
            given = "no trial is completed" if not self._done else "one trial is completed"
            return f"It compares completed trials, and {given}."
        if not any(trial.params for trial in self._done):
            return "No hyperparameter was searched."
        return ""

    def _optuna(
        self, plot: Callable[..., Any], restyle: Callable[[Any], Any] | None = None, **options: Any
    ) -> Plot:
        with quiet_optuna():
            figure = plot(self._copy, **options)
        if not figure.data:
            # Optuna 4 leaves out what lacks a hyperparameter, which may be every trial.
            return Plot(reason="No trial has all that this plot compares.")
        figure.update_layout(height=400, margin={"t": 20, "b": 60})
        if restyle is not None:
            restyle(figure)
        return Plot(self._html(figure))

    def _recolour_lines(self, figure: Any) -> None:
        from plotly.colors import sample_colorscale

        # Optuna 4 draws them as one trace, with the scale in it.
        figure.update_traces(line_colorscale=_SCALE, selector={"type": "parcoords"})
        figure.update_traces(marker_colorscale=_SCALE, selector={"mode": "markers"})
        for trace in figure.select_traces({"mode": "lines"}):
            # The first axis is that of the score, from 0 to 1.
            good = 1 - trace.y[0] if self.study.direction == StudyDirection.MINIMIZE else trace.y[0]
            (trace.line.color,) = sample_colorscale(list(_SCALE), [min(max(good, 0.0), 1.0)])
            trace.opacity = 0.8

    def _html(self, figure: Any) -> str:
        # The page has the titles; the templates would be repeated with each plot.
        figure.update_layout(
            title=None,
            template="none",
            colorway=COLOURS,
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"family": "system-ui, sans-serif", "size": 12},
        )
        # A learning rate of 100µ is nobody's way to write it; long names push the title of their axis away.
        for update in (figure.update_xaxes, figure.update_yaxes):
            update(automargin=True, exponentformat="power")
        options = {"displaylogo": False, "displayModeBar": False}
        made = figure.to_html(
            config=options, include_plotlyjs=False, full_html=False, div_id=f"plot-{next(self._ids)}"
        )
        return str(made)


def _recolour_bars(figure: Any) -> None:
    # Optuna's red and green are one colour to some readers.
    for trace in figure.select_traces({"type": "bar"}):
        trace.marker.color = _OF_STATES.get(trace.name, trace.marker.color)


def _dash(place: int) -> str:
    return ("solid", "dash", "dot")[place // len(COLOURS) % 3]


def _escaped(value: Any) -> Any:
    # Plotly reads text as a kind of HTML: bold, links, line breaks.
    return html.escape(value, quote=False) if isinstance(value, str) else value


def _copy(study: optuna.Study, shown: Sequence[FrozenTrial]) -> optuna.Study:
    """The study in memory, in names that Plotly shows as they are, and with nothing that is not shown."""
    copy = optuna.create_study(direction=study.direction, storage=optuna.storages.InMemoryStorage())
    # A trial that was one too many keeps its place, so that the others keep their numbers.
    last = max((trial.number for trial in shown), default=-1)
    copy.add_trials([_copied(trial) for trial in study.get_trials(deepcopy=False)[: last + 1]])
    return copy


def _copied(trial: FrozenTrial) -> FrozenTrial:
    told = {
        name: _escaped(trial.user_attrs[name])
        for name in (ENDING_ATTRIBUTE, REASON_ATTRIBUTE)
        if name in trial.user_attrs
    }
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=trial.value,
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete,
        params={_escaped(name): _escaped(value) for name, value in trial.params.items()},
        distributions=_distributions(trial.distributions),
        user_attrs=told,
        system_attrs={},
        intermediate_values=trial.intermediate_values,
        trial_id=trial.number,
    )


def _distributions(found: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    return {
        _escaped(name): CategoricalDistribution([_escaped(choice) for choice in given.choices])
        if isinstance(given, CategoricalDistribution)
        else given
        for name, given in found.items()
    }
