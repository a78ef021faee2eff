"""Train models of many kinds from Keras's own start and from `initialize`, and diagnose both.

    python benchmarks/models_in_the_wild.py --write docs/models_in_the_wild.md      # two hours
    python benchmarks/models_in_the_wild.py --quick                                 # every model, few steps
    python benchmarks/models_in_the_wild.py --only NeRF DCGAN --steps 50

The models are small versions of published ones (benchmarks/wild/families/): the same kinds of layers,
initializers, optimizer and loss, with fewer and narrower layers. The data are scikit-learn's digits, source
code as text, and generators next to the models. Each model takes 200 training steps from its weights as built
and from `initialize(model)`, at the source's learning rate times 1/3, 1 and 3, from three seeds. If either
start is best at the largest or smallest of these rates, both are trained at three times or a third of it too,
and so on until each is best at a rate between others, or up to 27 times and down to 1/27. The column "rates"
shows the factors; "open" means that the next one has not been tried yet. Both starts of a seed see the same
batches.

A start is measured by the mean of its training loss over the last 20 steps (of another quantity where the
table names one), at the rate where the mean over the seeds is best. Batches are drawn at random for each
step; a run sees a digit two to seven times, and anything from a generator once. The difference between the
starts is paired by seed, of the logarithm of the loss, or of the loss itself where it is a log-likelihood in
nats, and ± is the standard error of their paired mean; it counts as better or worse if its 95 % interval (t,
two degrees of freedom, 4.3 standard errors) excludes 0. One model in twenty does so by chance alone; with
three seeds "same" only means that a smaller difference cannot be told from chance.

Finished models are kept in `--results` and not repeated: after an interruption, the same command continues.
After a change of the code, `--recheck OLD --results NEW` initializes and diagnoses the models of OLD again.
It repeats a run only if its first five steps have changed. Rows that have not been checked yet are shown as
they are, and named below the table.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from rich.console import Console
from rich.progress import track
from wild import MODELS
from wild.grid import FACTORS, next_factor
from wild.table import page, summary, table
from wild.trials import measured


def read(path: Path | None) -> dict[str, dict]:
    """Return the rows of the results file by model, without a line that an interruption cut short."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        rows[row["model"]] = row
    return rows


def main(arguments: list[str] | None = None) -> list[dict]:
    """Run the command line, and return the rows of the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(MODELS), choices=MODELS, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="one seed, one rate, 20 steps; keeps no results")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results/models_in_the_wild.jsonl"))
    parser.add_argument("--recheck", type=Path, metavar="OLD", help="check the rows of an older results file")
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--write", type=Path, help="also write the table to this file")
    options = parser.parse_args(arguments)
    seeds, factors, steps, results = options.seeds, FACTORS, options.steps, options.results
    if options.quick:
        seeds, factors, steps, results = 1, (1.0,), min(options.steps, 20), None
    rows, older = read(results), read(options.recheck)
    todo = (
        []
        if options.report_only
        else [name for name in options.only if not _is_done(rows, name, seeds, steps)]
    )
    for name in track(todo, console=Console(stderr=True), disable=not todo):
        earlier = rows.get(name) or older.get(name)
        rows[name] = measured(MODELS[name], seeds, factors, steps, widens=not options.quick, earlier=earlier)
        if results is not None:
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[name]) + "\n")
    stale = [name for name in options.only if name in older and name not in rows]
    shown = [{**older, **rows}[name] for name in options.only if name in rows or name in older]
    print(table(shown))
    print(summary(shown, stale))
    if options.write:
        options.write.write_text(page(__doc__, shown, stale), encoding="utf-8")
    return shown


def _is_done(rows: dict[str, dict], name: str, seeds: int, steps: int) -> bool:
    if name not in rows or (rows[name]["seeds"], rows[name]["steps"]) != (seeds, steps):
        return False
    return next_factor(rows[name]) is None


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
