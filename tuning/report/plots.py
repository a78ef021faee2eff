"""Draw the plots of a report: Optuna's plots of the study, and the learning curves of each trial."""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import optuna
from optuna import visualization
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ..storage import quiet_optuna
from ..study import ENDING_ATTRIBUTE, REASON_ATTRIBUTE, TrialResult, started_trials

# The palette of Okabe and Ito without black and yellow: colour-blind readers can tell these colours apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_STATE_COLOURS = {
    "COMPLETE": "#0072B2",
    "FAIL": "#D55E00",
    "PRUNED": "#E69F00",
    "RUNNING": "#009E73",
    "WAITING": "#999999",
}
# From bad to good, or from early to late. Optuna's scale of blues is invisible at its light end on paper, and
# at its dark end on a dark page.
_SCALE = ("#E69F00", "#A39C8C", "#0072B2")
# The most slices side by side: more are wider than a sheet of paper.
_SLICES = 3
# The most lines in a legend.
_LEGEND_LINES = 12


@dataclass(frozen=True)
class Plot:
    """A plot, or the reason why it cannot be drawn.

    Attributes:
        html: The plot, for a page that contains plotly.js; "" if it cannot be drawn.
        reason: Why it cannot be drawn; "" if it can.
        title: The title above the plot.
        note: A note on what the plot leaves out.
    """

    html: str = ""
    reason: str = ""
    title: str = ""
    note: str = ""


@dataclass
class StudyPlots:
    """The plots of one page, each with its own element id.

    Args:
        study: The study, which is only read.
        target_name: The name of the trials' values, for axes.
    """

    study: optuna.Study
    target_name: str
    _drawn: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._started = started_trials(self.study.get_trials(deepcopy=False))
        self._completed = [
            t for t in self._started if t.state == TrialState.COMPLETE and np.isfinite(t.value or 0.0)
        ]
        self._label = _escaped(self.target_name)
        with quiet_optuna():
            self._copy = _copy(self.study, self._started)

    @property
    def drawn(self) -> bool:
        """Return whether any plot has been drawn."""
        return self._drawn > 0

    def history(self) -> Plot:
        """Draw the value of each trial and the best value so far."""
        if not self._completed:
            return Plot(reason="No trial is completed, so there is no score to draw.")
        return self._optuna(visualization.plot_optimization_history, target_name=self._label)

    def parallel_coordinates(self) -> Plot:
        """Draw a line for each completed trial, across one axis for each hyperparameter."""
        if reason := self._missing():
            return Plot(reason=reason)
        plot = self._optuna(
            visualization.plot_parallel_coordinate, self._recolour_lines, target_name=self._label
        )
        searched = {name for trial in self._completed for name in trial.params}
        lacking = sum(len(trial.params) < len(searched) for trial in self._completed)
        # Optuna 5 draws every trial, in another kind of plot.
        if lacking and "parcoords" in plot.html:
            note = (
                f"Without the {lacking} trials that lack one of these hyperparameters; Optuna 5 draws them."
            )
            return replace(plot, note=note)
        return plot

    def slices(self) -> list[Plot]:
        """Draw the scores against each hyperparameter."""
        if reason := self._missing():
            return [Plot(reason=reason)]
        names = sorted({_escaped(name) for trial in self._completed for name in trial.params})
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
        """Draw when each trial ran."""
        if not self._started:
            return Plot(reason="No trial has begun.")
        return self._optuna(visualization.plot_timeline, _recolour_bars)

    def intermediate_values(self) -> Plot:
        """Draw the objective during training, for every trial that reported it."""
        if not any(trial.intermediate_values for trial in self._started):
            return Plot(reason="No trial reported a value during its training.")
        return self._optuna(visualization.plot_intermediate_values, self._name_axes)

    def _name_axes(self, figure: Any) -> None:
        figure.update_yaxes(title_text=self._label)
        figure.update_xaxes(title_text="epoch", tickformat="d")
        figure.update_layout(showlegend=len(figure.data) <= _LEGEND_LINES)

    def curves(self, trial: TrialResult, metric: str, span: tuple[float, float] | None) -> Plot:
        """Draw the learning curves of one trial, a line for each seed.

        Args:
            trial: The trial.
            metric: The metric to draw.
            span: The lower and the upper end of the value axis; None fits it to this trial.
        """
        from plotly import graph_objects

        figure = graph_objects.Figure()
        for index, (seed, record) in enumerate(trial.seeds.items()):
            values = record.get("curves", {}).get(metric, [])
            figure.add_scatter(
                x=list(range(1, len(values) + 1)),
                y=values,
                name=f"seed {seed}",
                mode="lines+markers" if len(values) == 1 else "lines",
                line={"color": COLOURS[index % len(COLOURS)], "dash": _dash(index), "width": 1.5},
            )
        figure.update_xaxes(title_text="epoch")
        figure.update_yaxes(range=span)
        figure.update_layout(height=220, margin={"l": 45, "r": 10, "t": 10, "b": 40}, showlegend=False)
        return Plot(self._html(figure), title=f"trial {trial.number}")

    def _missing(self) -> str:
        """Return why trials cannot be compared; "" if they can."""
        if len(self._completed) < 2:
            count = "only one trial" if self._completed else "no trial"
            return f"This plot compares completed trials, and {count} is completed."
        if not any(trial.params for trial in self._completed):
            return "No hyperparameter was searched."
        return ""

    def _optuna(
        self, plot: Callable[..., Any], restyle: Callable[[Any], Any] | None = None, **options: Any
    ) -> Plot:
        with quiet_optuna():
            figure = plot(self._copy, **options)
        if not figure.data:
            # Optuna 4 leaves out each trial that lacks a hyperparameter, which can be all of them.
            return Plot(reason="No trial has all hyperparameters that this plot compares.")
        figure.update_layout(height=400, margin={"t": 20, "b": 60})
        if restyle is not None:
            restyle(figure)
        return Plot(self._html(figure))

    def _recolour_lines(self, figure: Any) -> None:
        from plotly.colors import sample_colorscale

        # Optuna 4 draws all lines as one trace with a colour scale; Optuna 5 draws a trace per trial.
        figure.update_traces(line_colorscale=_SCALE, selector={"type": "parcoords"})
        figure.update_traces(marker_colorscale=_SCALE, selector={"mode": "markers"})
        for trace in figure.select_traces({"mode": "lines"}):
            # The first axis shows the score, scaled to 0 .. 1.
            good = 1 - trace.y[0] if self.study.direction == StudyDirection.MINIMIZE else trace.y[0]
            (trace.line.color,) = sample_colorscale(list(_SCALE), [min(max(good, 0.0), 1.0)])
            trace.opacity = 0.8

    def _html(self, figure: Any) -> str:
        # The page contains the titles, and a template would be repeated in every plot.
        figure.update_layout(
            title=None,
            template="none",
            colorway=COLOURS,
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"family": "system-ui, sans-serif", "size": 12},
        )
        # Plotly would write a learning rate as 100µ; and long tick labels need the room of their axis title.
        for update in (figure.update_xaxes, figure.update_yaxes):
            update(automargin=True, exponentformat="power")
        options = {"displaylogo": False, "displayModeBar": False}
        element = figure.to_html(
            config=options, include_plotlyjs=False, full_html=False, div_id=f"plot-{self._drawn}"
        )
        self._drawn += 1
        return str(element)


def _recolour_bars(figure: Any) -> None:
    # Colour-blind readers cannot tell Optuna's red from its green.
    for trace in figure.select_traces({"type": "bar"}):
        trace.marker.color = _STATE_COLOURS.get(trace.name, trace.marker.color)


def _dash(index: int) -> str:
    return ("solid", "dash", "dot")[index // len(COLOURS) % 3]


def _escaped(value: Any) -> Any:
    # Plotly interprets some HTML in texts: bold, links, line breaks.
    return html.escape(value, quote=False) if isinstance(value, str) else value


def _copy(study: optuna.Study, started: Sequence[FrozenTrial]) -> optuna.Study:
    """Copy the study into memory, with escaped names and only the attributes that the plots show."""
    copy = optuna.create_study(direction=study.direction, storage=optuna.storages.InMemoryStorage())
    # Surplus trials are copied too, so that the trials after them keep their numbers.
    last = max((trial.number for trial in started), default=-1)
    copy.add_trials([_copied_trial(trial) for trial in study.get_trials(deepcopy=False)[: last + 1]])
    return copy


def _copied_trial(trial: FrozenTrial) -> FrozenTrial:
    attributes = {
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
        distributions=_escaped_distributions(trial.distributions),
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=trial.intermediate_values,
        trial_id=trial.number,
    )


def _escaped_distributions(distributions: Mapping[str, BaseDistribution]) -> dict[str, BaseDistribution]:
    return {
        _escaped(name): CategoricalDistribution([_escaped(choice) for choice in distribution.choices])
        if isinstance(distribution, CategoricalDistribution)
        else distribution
        for name, distribution in distributions.items()
    }
