"""The table of `models_in_the_wild.py`: both starts at their best rates, and their paired difference."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from wild.grid import STARTS, best_factor, next_factor, scaled
from wild.registry import MODELS


@dataclass(frozen=True)
class Outcome:
    """Both starts of one model, each at its best rate.

    Attributes:
        last: The mean measure over seeds, by start; NaN if no rate ends finite on every seed.
        factor: The factor on the source's rate where it is best.
        difference, error: The paired difference, `initialize` minus Keras, and its standard error.
        word: "better", "worse", "same", or "-" with a single seed or where a start is missing.
    """

    last: dict[str, float]
    factor: dict[str, float]
    difference: float
    error: float
    word: str


def outcome(row: dict) -> Outcome:
    """Compare both starts of a row."""
    last, factors, paired = {}, {}, {}
    for start in STARTS:
        best = best_factor(row, start)
        ends = [run["last"] for run in row["runs"] if (run["start"], run["factor"]) == (start, best)]
        last[start] = float(np.mean(ends)) if best is not None else math.nan
        factors[start] = best if best is not None else math.nan
        paired[start] = scaled(row, start)[best] if best is not None else None
    own, other = (paired[start] for start in STARTS)
    if own is None or other is None:
        ran = {run["start"] for run in row["runs"]} == set(STARTS)
        word = "-" if not ran or (own is None) == (other is None) else "worse" if other is None else "better"
        return Outcome(last, factors, math.nan, math.nan, word)
    differences = other - own
    count = len(differences)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    limit = stats.t.ppf(0.975, count - 1) * error if count > 1 else math.nan
    word = "-" if count < 2 else "same" if abs(mean) <= limit else "worse" if mean > 0 else "better"
    return Outcome(last, factors, mean, error, word)


def first(row: dict, start: str = STARTS[0]) -> float:
    """Return the measure over the first five steps at the lowest rate, a mean over seeds."""
    factor = min((run["factor"] for run in row["runs"]), default=1.0)
    values = [r["first"] for r in row["runs"] if r["start"] == start and r["factor"] == factor]
    return float(np.mean(values)) if values and None not in values else math.nan


def _health(row: dict, start: str) -> str:
    health = row["health"].get(start)
    if health is None:
        return "failed" if any(start in e["error"] for e in row["errors"]) else "-"
    return ("healthy" if health["healthy"] else "not healthy") + "".join(
        f"; {verdict}" for verdict in health["verdicts"]
    )


def _grid(row: dict) -> str:
    """Return the lowest and highest factor that both starts were trained at."""
    tried = sorted({run["factor"] for run in row["runs"]}) or [1.0]
    low, high = (f"{f:.0f}" if f >= 1 else f"1/{1 / f:.0f}" for f in (tried[0], tried[-1]))
    return f"{low} to {high}" + (", open" if next_factor(row) is not None else "")


def table(rows: list[dict]) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| model | diagnosed as built | after `initialize` | measure | first | rates | Keras, best (rate) "
        "| `initialize`, best (rate) | difference | |",
        "| --- | --- | --- | --- | ---: | --- | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        entry, result = MODELS[row["model"]], outcome(row)
        measure = entry.measure + (", nats" if entry.in_nats else "")
        best = [f"{result.last[s]:.4g} ({row.get('rate', math.nan) * result.factor[s]:.2g})" for s in STARTS]
        difference = f"{result.difference:+.3f} ± {result.error:.3f}"
        health = [_health(row, start) for start in STARTS]
        cells = [
            entry.name,
            *health,
            measure,
            f"{first(row):.4g}",
            _grid(row),
            *best,
            difference,
            result.word,
        ]
        lines.append("| " + " | ".join(cells).replace("nan", "-") + " |")
    return "\n".join(lines)


def _is_edge(row: dict, start: str) -> bool:
    tried = list(scaled(row, start))
    return len(tried) > 1 and best_factor(row, start) in (tried[0], tried[-1])


def summary(rows: list[dict], stale: list[str]) -> str:
    """Return the counts with the names of the models that fall short, and the errors, one a line.

    `stale` names the models whose rows were measured before the code changed.
    """
    words = {row["model"]: outcome(row).word for row in rows}
    text = ", ".join(f"{list(words.values()).count(word)} {word}" for word in ("better", "same", "worse"))
    failed = sum(bool(row["errors"]) for row in rows)
    lines = [f"{len(rows)} models: {text}; {failed} with an error. {sum(r['seconds'] for r in rows):.0f} s."]
    lists = {"Worse after `initialize`": [name for name, word in words.items() if word == "worse"]}
    for start, when in zip(STARTS, ("as built", "after `initialize`"), strict=True):
        unhealthy = [row for row in rows if not row["health"].get(start, {}).get("healthy", True)]
        lists[f"Not healthy {when}"] = [row["model"] for row in unhealthy]
    lists["Best at an edge of its rates"] = [
        row["model"] for row in rows if any(_is_edge(row, start) for start in STARTS)
    ]
    if stale:
        lists["Measured before the last change of the code, not yet again"] = stale
    if missing := [name for name in MODELS if name not in words]:
        lists["Not measured yet"] = missing
    lines += [f"{title}: {', '.join(names) or 'none'}." for title, names in lists.items()]
    errors = [f"- {row['model']}: {error['error']}" for row in rows for error in row["errors"]]
    return "\n".join(["", "\n\n".join(lines), *([""] if errors else []), *errors])


def page(docstring: str, rows: list[dict], stale: list[str]) -> str:
    """Return the page of the documentation."""
    _, command, *text = docstring.strip().split("\n\n")
    sources = [f"| {MODELS[row['model']].name} | {MODELS[row['model']].source} |" for row in rows]
    head = ["# Models in the wild", command.split("\n")[0].split("  #")[0].rstrip(), *text]
    remarks = [(MODELS[row["model"]].name, MODELS[row["model"]].remark) for row in rows]
    sections = [table(rows) + "\n" + summary(rows, stale)]
    sections += ["\n".join(f"- {name}: {remark}." for name, remark in remarks if remark), "## Sources"]
    sections = [section for section in sections if section]
    return (
        "\n\n".join([*head, *sections, "\n".join(["| model | source |", "| --- | --- |", *sources])]) + "\n"
    )
