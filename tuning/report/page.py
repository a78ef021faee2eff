"""Write a search as one self-contained HTML page: sentences, tables, plots, versions and machines."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

import keras_initx
from keras_initx.errors import InitxError

from ..storage import STUDY_NAME, atomic_write, redacted
from ..study import SETTINGS_ATTRIBUTE, TrialResult, machines_of, results_of, started_trials
from .find_study import find_study, is_storage
from .importance import importances_of
from .narrative import rows, seed_rows, sentences
from .plots import COLOURS, Plot, StudyPlots
from .tables import ranked, values_text

REPORT_FILE = "report.html"
_TEMPLATE = "page.html.jinja"
# Marks a file as a report, which a new report may replace.
_MARK = '<meta name="generator" content="keras-initx report">'
# The most trials with learning curves: a browser takes some hundredths of a second to draw each plot.
_CURVE_PLOTS = 24


def write_report(
    source: str | Path,
    out: str | Path | None = None,
    study_name: str | None = None,
    storage: str | Path | BaseStorage | None = None,
) -> Path:
    """Write a search as one HTML file that needs no other file and no network.

    The page contains a summary in words, the ranking with intervals, every seed's score, learning curves,
    importances, Optuna's plots, the trials that ended early with their reasons, settings, versions and the
    machines. For a search that is still running it shows the results so far.

    Args:
        source: The folder of a search (`search(results=...)`), the project folder of a KerasTuner search,
            or a storage, as a URL or a journal file.
        out: The file to write. None means `report.html` in the folder, or in the working directory for a
            storage.
        study_name: The name of the study. None means the study named after the folder, or the storage's
            only study.
        storage: Where the study of the folder is kept, as in `search`. None means the folder's `study.db`,
            or the file in the folder that its settings name.

    Returns:
        The path of the file.

    Raises:
        InitxError: If there is no search; if the study has several objectives; if the file cannot be
            written, or exists and is not a report.

    Example:

    >>> import optuna, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     study = optuna.create_study(storage=f"sqlite:///{folder}/study.db")
    ...     study.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=3)
    ...     page = write_report(folder).read_text(encoding="utf-8")
    >>> "Best: trial" in page
    True
    """
    target = Path(out) if out is not None else (Path() if is_storage(source) else Path(source)) / REPORT_FILE
    # Check the file before the study is read, which can take long.
    if out is not None:
        _check_target(target)
    with find_study(source, storage, study_name, argument="source") as study:
        _check_target(target)
        page = render(study, str(redacted(str(source))))
    with atomic_write(target, "out", started=False) as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def render(study: optuna.Study, location: str) -> str:
    """Return the HTML page of a study, which is only read.

    Args:
        study: The study.
        location: Where the study is kept, without a password.

    Raises:
        InitxError: If the study has several objectives.
    """
    if len(study.directions) > 1:
        remedy = f"It has {len(study.directions)} objectives."
        raise InitxError("source", location, "a study with one objective", remedy)
    objective = _objective(study)
    frozen = started_trials(study.get_trials(deepcopy=False))
    trials = results_of(study)
    values = {t.number: float(t.value or 0.0) for t in frozen if t.state == TrialState.COMPLETE}
    settings = study.user_attrs.get(SETTINGS_ATTRIBUTE) or {}
    plots = StudyPlots(study, objective.name)
    metric, curve_plots, left_out = _curve_plots(plots, trials, objective)
    seeds, per_seed = seed_rows(trials, objective)
    content = {
        "mark": _MARK,
        "name": _title(study, location),
        "location": location,
        "objective": objective,
        "sentences": sentences(trials, objective, values),
        "rows": rows(trials, objective, values),
        "ended": [t for t in trials if t.status in ("screened", "pruned", "failed")],
        "seeds": seeds,
        "raced": {seed for trial in trials for seed in trial.race},
        "per_seed": per_seed,
        "metric": metric,
        "curve_plots": curve_plots,
        "left_out": left_out,
        "legend": list(zip(seeds, COLOURS, strict=False)) if len(seeds) <= len(COLOURS) else [],
        "during": plots.intermediate_values(),
        "history": plots.history(),
        "parallel": plots.parallel_coordinates(),
        "slices": plots.slices(),
        "timeline": plots.timeline(),
        "settings": _settings(settings),
        "machines": [_machine(machine) for machine in machines_of(study.user_attrs)],
        "times": _times(frozen),
        "written": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": keras_initx.__version__,
        **_importances(study, location),
    }
    # The last key, since only now it is known whether the page has any plot.
    content["plotly"] = _plotly() if plots.drawn else ""
    return _page(content)


def _objective(study: optuna.Study) -> keras_tuner.Objective:
    name = study.metric_names[0] if study.metric_names else "objective"
    return keras_tuner.Objective(name, "max" if study.direction == StudyDirection.MAXIMIZE else "min")


def _curve_plots(
    plots: StudyPlots, trials: Sequence[TrialResult], objective: keras_tuner.Objective
) -> tuple[str, list[tuple[str, Plot]], int]:
    """Return the metric of the learning curves, its plots for the best trials, and the number left out."""
    with_curves = [
        trial
        for trial in ranked(trials, objective)
        if any("curves" in record for record in trial.seeds.values())
    ]
    if not with_curves:
        return "", [], 0
    names = list(next(r["curves"] for r in with_curves[0].seeds.values() if "curves" in r))
    metric = _metric(names, objective.name)
    span = None
    if metric.endswith("accuracy"):
        # A common scale makes accuracies comparable; losses may differ by a factor of a thousand.
        curves = (r.get("curves", {}).get(metric, []) for t in with_curves for r in t.seeds.values())
        finite = [value for curve in curves for value in curve if value == value]
        span = (min(finite, default=0.0) - 0.02, max(finite, default=1.0) + 0.02)
    shown = with_curves[:_CURVE_PLOTS]
    curve_plots = [(values_text(trial), plots.curves(trial, metric, span)) for trial in shown]
    return metric, curve_plots, len(with_curves) - len(shown)


def _metric(names: Sequence[str], objective: str) -> str:
    # With a target the objective is "epochs to val_accuracy 0.9": show the curve of the metric in it.
    words = objective.split()
    in_objective = [name for name in names if name in words]
    return next(iter([*in_objective, *(name for name in names if name.startswith("val_")), *names]))


def _importances(study: optuna.Study, location: str) -> dict[str, Any]:
    try:
        importances, warning = importances_of(study, location)
    except InitxError as error:
        return {"importances": [], "warning": f"Importances need {error.allowed}."}
    frozen = started_trials(study.get_trials(deepcopy=False))
    completed = [trial for trial in frozen if trial.state == TrialState.COMPLETE]
    searched = {name for trial in completed for name in trial.params}
    if left_out := sorted(searched - {importance.name for importance in importances}):
        reason = f"Left out, since not every completed trial has it: {', '.join(left_out)}."
        warning = f"{warning} {reason}".strip()
    if not importances and not searched:
        warning = "No hyperparameter was searched."
    return {"importances": importances, "warning": warning}


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the settings of the search by the names of their arguments."""
    rows = []
    for name, value in settings.items():
        if name == "space":
            rows += [(f"searched: {key}", _choices(config)) for key, config in value.items()]
        elif name == "storage" and value is not None:
            rows.append((name, str(redacted(str(value)))))
        elif name == "classes":
            rows.append((name, str(len(value)) if value else ""))
        elif value is not None:
            rows.append((name, _text(value)))
    return [(name, text) for name, text in rows if text]


def _choices(config: Mapping[str, Any]) -> str:
    if config.get("values"):
        return _text(config["values"])
    if "min_value" in config:
        scale = " (logarithmic)" if config.get("sampling") == "log" else ""
        return f"{config['min_value']} to {config['max_value']}{scale}"
    return _text(config.get("value", config.get("default")))


def _machine(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = [(str(name), str(value)) for name, value in machine.get("versions", {}).items()]
    rest = [(str(name), _text(value)) for name, value in machine.items() if name != "versions"]
    return [*versions, *((name, text) for name, text in rest if text)]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_text(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)


def _times(frozen: Iterable[FrozenTrial]) -> str:
    frozen = list(frozen)
    began = min((t.datetime_start for t in frozen if t.datetime_start), default=None)
    ended = max((t.datetime_complete for t in frozen if t.datetime_complete), default=None)
    if began is None or ended is None:
        return ""
    return f"From {began:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M}."


def _title(study: optuna.Study, location: str) -> str:
    # The study of every results folder has the same name, so the folder's name says more.
    return Path(location).name if study.study_name == STUDY_NAME else study.study_name


def _page(content: Mapping[str, Any]) -> str:
    # Imported late: jinja2 and plotly take half a second to import, and a search does not need them.
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(_TEMPLATE).render(content)


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _check_target(target: Path) -> None:
    """Raise an `InitxError` unless the report can be written to `target` without losing another file."""
    if target.is_dir():
        raise InitxError("out", str(target), "the path of a file", "It is a folder.")
    if not target.parent.is_dir():
        remedy = f"The folder {target.parent} does not exist."
        raise InitxError("out", str(target), "a file in an existing folder", remedy)
    if target.exists() and _MARK not in target.read_text(encoding="utf-8", errors="replace")[:1000]:
        remedy = "This file is not a report, so it is not replaced."
        raise InitxError("out", str(target), "a new file or an earlier report", remedy)
