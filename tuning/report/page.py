"""One page of a search that can be read anywhere: words, tables, plots, and what it ran on."""

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
from .find_study import found_study, is_storage
from .importance import importances_of
from .narrative import rows, seed_rows, sentences
from .plots import COLOURS, Figures, Plot
from .tables import ranked, values_text

REPORT_FILE = "report.html"
_TEMPLATE = "page.html.jinja"
# By it a file is known to be a report, which another one may replace.
_MARK = '<meta name="generator" content="keras-initx report">'
# Every chart takes the browser some hundredths of a second.
_CHARTS = 24


def write_report(
    source: str | Path,
    out: str | Path | None = None,
    study_name: str | None = None,
    storage: str | Path | BaseStorage | None = None,
) -> Path:
    """Writes a search as one HTML file that needs no other file and no network.

    It has a summary in words, the ranking with intervals, every seed's score, learning curves, importances,
    Optuna's plots, the trials that ended early with their reasons, versions, seeds and the machine. A search
    that is still running is reported as far as it is.

    Args:
        source: The folder of a search (`search(results=...)`), or of KerasTuner's; or a storage, as a URL or
            a journal file.
        out: The file to write. None is `report.html` in the folder, and for a storage in the working
            directory.
        study_name: Which study of a storage; None is the one that has the folder's name, or the only one.
        storage: Where the study of the folder is kept, as in `search`. None is the `study.db` of the folder,
            or what its settings tell (they tell no password).

    Returns:
        The file.

    Raises:
        InitxError: No search there; a study with several objectives; a file that cannot be written, or one
            that is there and is no report.

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
    # Before the search is read, which may take its time.
    if out is not None:
        _check_target(target)
    with found_study(source, storage, study_name, argument="source") as study:
        _check_target(target)
        page = render(study, str(redacted(str(source))))
    with atomic_write(target, "out", started=False) as partial:
        partial.write_text(page, encoding="utf-8")
    return target


def render(study: optuna.Study, place: str) -> str:
    """The page of a study.

    Args:
        study: The study; it is only read.
        place: Where it is kept, as anybody may read it.

    Raises:
        InitxError: It has several objectives.
    """
    if len(study.directions) > 1:
        raise InitxError("source", place, "a study with one objective", f"It has {len(study.directions)}.")
    objective = _objective(study)
    frozen = started_trials(study.get_trials(deepcopy=False))
    trials = results_of(study)
    values = {t.number: float(t.value or 0.0) for t in frozen if t.state == TrialState.COMPLETE}
    settings = study.user_attrs.get(SETTINGS_ATTRIBUTE) or {}
    figures = Figures(study, objective.name)
    metric, charts, left_out = _charts(figures, trials, objective)
    seeds, per_seed = seed_rows(trials, objective)
    content = {
        "mark": _MARK,
        "name": _title(study, place),
        "place": place,
        "objective": objective,
        "sentences": sentences(trials, objective, values),
        "rows": rows(trials, objective, values),
        "ended": [t for t in trials if t.status in ("screened", "pruned", "failed")],
        "seeds": seeds,
        "raced": {seed for trial in trials for seed in trial.race},
        "per_seed": per_seed,
        "metric": metric,
        "charts": charts,
        "left_out": left_out,
        "legend": list(zip(seeds, COLOURS, strict=False)) if len(seeds) <= len(COLOURS) else [],
        "during": figures.intermediate_values(),
        "history": figures.history(),
        "parallel": figures.parallel_coordinates(),
        "slices": figures.slices(),
        "timeline": figures.timeline(),
        "settings": _settings(settings),
        "machines": [_machine(found) for found in machines_of(study.user_attrs)],
        "times": _times(frozen),
        "written": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": keras_initx.__version__,
        **_importances(study, place),
    }
    # Last: by now it is known whether there is anything to draw.
    content["plotly"] = _plotly() if figures.drawn else ""
    return _page(content)


def _objective(study: optuna.Study) -> keras_tuner.Objective:
    name = study.metric_names[0] if study.metric_names else "objective"
    return keras_tuner.Objective(name, "max" if study.direction == StudyDirection.MAXIMIZE else "min")


def _charts(
    figures: Figures, trials: Sequence[TrialResult], objective: keras_tuner.Objective
) -> tuple[str, list[tuple[str, Plot]], int]:
    """The metric of the learning curves, the charts of the best trials, and how many trials have none."""
    known = [trial for trial in ranked(trials, objective) if any("curves" in r for r in trial.seeds.values())]
    if not known:
        return "", [], 0
    names = list(next(r["curves"] for r in known[0].seeds.values() if "curves" in r))
    metric = _metric(names, objective.name)
    span = None
    if metric.endswith("accuracy"):
        # On one scale they can be compared; a loss may be a thousand times another.
        curves = (r.get("curves", {}).get(metric, []) for t in known for r in t.seeds.values())
        found = [value for curve in curves for value in curve if value == value]
        span = (min(found, default=0.0) - 0.02, max(found, default=1.0) + 0.02)
    shown = known[:_CHARTS]
    charts = [(values_text(trial), figures.curves(trial, metric, span)) for trial in shown]
    return metric, charts, len(known) - len(shown)


def _metric(names: Sequence[str], objective: str) -> str:
    # With a target the objective is a number of epochs until a metric reaches it, which has no curve.
    words = objective.split()
    named_in = [name for name in names if name in words]
    return next(iter([*named_in, *(n for n in names if n.startswith("val_")), *names]))


def _importances(study: optuna.Study, place: str) -> dict[str, Any]:
    try:
        found, warning = importances_of(study, place)
    except InitxError as error:
        return {"importances": [], "warning": f"Importances need {error.allowed}."}
    done = [t for t in started_trials(study.get_trials(deepcopy=False)) if t.state == TrialState.COMPLETE]
    searched = {name for trial in done for name in trial.params}
    if left := sorted(searched - {importance.name for importance in found}):
        some = f"Left out, since only some of the trials have it: {', '.join(left)}."
        warning = f"{warning} {some}".strip()
    if not found and not searched:
        warning = "No hyperparameter was searched."
    return {"importances": found, "warning": warning}


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the search was asked for, as its arguments are called."""
    found = []
    for name, value in settings.items():
        if name == "space":
            found += [(f"searched: {key}", _choices(config)) for key, config in value.items()]
        elif name == "storage" and value is not None:
            found.append((name, str(redacted(str(value)))))
        elif name == "classes":
            found.append((name, str(len(value)) if value else ""))
        elif value is not None:
            found.append((name, _text(value)))
    return [(name, text) for name, text in found if text]


def _choices(config: Mapping[str, Any]) -> str:
    if config.get("values"):
        return _text(config["values"])
    if "min_value" in config:
        scale = " (logarithmic)" if config.get("sampling") == "log" else ""
        return f"{config['min_value']} to {config['max_value']}{scale}"
    return _text(config.get("value", config.get("default")))


def _machine(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    versions = [(str(name), str(value)) for name, value in found.get("versions", {}).items()]
    rest = [(str(name), _text(value)) for name, value in found.items() if name != "versions"]
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


def _title(study: optuna.Study, place: str) -> str:
    # In a folder of its own every study has the same name.
    return Path(place).name if study.study_name == STUDY_NAME else study.study_name


def _page(content: Mapping[str, Any]) -> str:
    # The libraries that make a page take half a second to import, which no search needs.
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
    if target.is_dir():
        raise InitxError("out", str(target), "the name of a file", "It is a folder.")
    if not target.parent.is_dir():
        allowed = "a file in a folder that is there"
        raise InitxError("out", str(target), allowed, f"There is no folder {target.parent}.")
    if target.exists() and _MARK not in target.read_text(encoding="utf-8", errors="replace")[:1000]:
        raise InitxError("out", str(target), "a new file, or an earlier report", "It is another file.")
