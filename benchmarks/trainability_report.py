"""Print the tables of `trainability.py`: accuracies by cell, regret by network, the rates that train."""

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

# A rate counts as training if its accuracy is within five points of the best of the cell.
_WITHIN = 0.05


def chosen(row: dict) -> tuple[float, float]:
    """Return the test accuracy at the rate that was best on validation, and that rate; means over seeds."""
    best = int(np.argmax(np.mean(row["validation"], axis=1)))
    return float(np.mean(row["test"][best])), row["rates"][best]


def width(row: dict, best: float) -> int:
    """Return how many rates train to within five points of the best of the cell."""
    return int(np.sum(np.mean(row["test"], axis=1) >= best - _WITHIN))


Cells = dict[tuple, dict[str, dict]]


def accuracies(cells: Cells, methods: list[str], title: str) -> Table:
    """Return a row for each cell in which a method ran; bold within a point of the best of all."""
    table = Table(title=title, title_justify="left")
    for name in ("network", "activation", "optimizer", *methods):
        table.add_column(name, justify="right" if name in methods else "left")
    for (model, activation, opt), by_method in cells.items():
        best = max(chosen(row)[0] for row in by_method.values())
        texts = []
        for method in methods:
            if method not in by_method:
                texts.append("")
                continue
            accuracy, _ = chosen(by_method[method])
            text = f"{accuracy:.3f} ({width(by_method[method], best)})"
            texts.append(f"[bold]{text}[/]" if accuracy >= best - 0.01 else text)
        table.add_row(model, activation, opt, *texts)
    return table


def report(rows: list[dict], fixed: tuple[str, ...], file: Path | None = None) -> None:
    """Print the tables, and write them to a file if one is given."""
    console = Console(width=150, record=True)
    cells: Cells = {}
    for row in rows:
        if "error" in row:
            # A model that could not be initialized trains at no rate.
            nothing = [[0.0] * row["seeds"]] * len(row["rates"])
            row |= {"validation": nothing, "test": nothing}
        cells.setdefault((row["model"], row["activation"], row["optimizer"]), {})[row["method"]] = row
    others = [m for m in dict.fromkeys(row["method"] for row in rows) if m not in (*fixed, "auto")]
    title = "Test accuracy at the rate chosen on validation (rates that train to within .05 of the best)"
    console.print(accuracies(cells, [*fixed, "auto"], title))
    if others:
        some = {key: by_method for key, by_method in cells.items() if any(m in by_method for m in others)}
        console.print(accuracies(some, ["auto", *others], "The same, of the methods that auto chooses from"))
    summary: dict[str, list[tuple[float, int, int, bool]]] = {}
    for (model, _, _), by_method in cells.items():
        best = max(chosen(row)[0] for row in by_method.values())
        peers = [by_method[m] for m in fixed if m in by_method]
        if "auto" in by_method and len(peers) == len(fixed):
            top = max(peers, key=lambda row: chosen(row)[0])
            own = chosen(by_method["auto"])[0]
            fails = own < 0.5 * best
            summary.setdefault(model, []).append(
                (
                    chosen(top)[0] - own,
                    width(by_method["auto"], best),
                    max(width(p, best) for p in peers),
                    fails,
                )
            )
    totals = Table(title="auto against the best fixed initializer of each cell", title_justify="left")
    for name in (
        "network",
        "cells",
        "mean regret, points",
        "worst",
        "rates, auto",
        "rates, best fixed",
        "fails alone",
    ):
        totals.add_column(name, justify="left" if name == "network" else "right")
    for model, values in summary.items():
        regrets = [100 * v[0] for v in values]
        totals.add_row(
            model,
            str(len(values)),
            f"{np.mean(regrets):+.2f}",
            f"{np.max(regrets):+.2f}",
            f"{np.mean([v[1] for v in values]):.1f}",
            f"{np.mean([v[2] for v in values]):.1f}",
            str(sum(v[3] for v in values)),
        )
    console.print(totals)
    console.print(f"Run with: {'; '.join(_settings(rows))}.", highlight=False)
    runs = sum(len(row.get("rates", [])) * row.get("seeds", 0) for row in rows if "error" not in row)
    console.print(
        f"{len(rows)} cells, {runs} trainings, {sum(row['seconds'] for row in rows):.0f} s of one process."
    )
    if file is not None:
        text = "\n".join(line.rstrip() for line in console.export_text().splitlines())
        head = "# Does it train?\n\nWritten by `python benchmarks/trainability.py --table FILE`; its "
        head += "docstring describes what it measures.\n"
        file.write_text(f"{head}\n```text\n{text}\n```\n", encoding="utf-8")


def _settings(rows):
    """Return the seeds and epochs of each network, and of methods that ran with other ones."""
    texts = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        groups = {}
        for row in own:
            groups.setdefault((row["seeds"], row["epochs"]), set()).add(row["method"])
        (usual, _), *others = sorted(groups.items(), key=lambda item: -len(item[1]))
        text = f"{model} {usual[0]} seeds, {usual[1]} epochs"
        for (seeds, epochs), methods in others:
            text += f" ({', '.join(sorted(methods))}: {seeds} seeds, {epochs} epochs)"
        texts.append(text)
    return texts
