"""Measure trials per minute with two workers against one, and the trials per second that a storage takes.

    python benchmarks/throughput.py              # both, about five minutes
    python benchmarks/throughput.py --only workers
    python benchmarks/throughput.py --only storages --seconds 20

workers     The same search by `keras-initx tune` with one and with two workers. Trials per minute from the
            start of the first trial to the end of the last, and of the whole command, which also starts
            Python, TensorFlow and the compiled models of each process.
storages    1, 2, 4 and 8 processes that ask an `OptunaOracle` for trials and report epochs, seeds and ends,
            without any training, as fast as they can, for some seconds: on PostgreSQL, SQLite and a journal
            file. Trials per second, the latency of each call, and the calls that raised.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import postgres

STORAGES = ("postgresql", "sqlite", "journal")
CALLS = ("create_trial", "report_epoch", "report_seed", "end_trial")


def tune(workers, options):
    """Run one search; return its trials per minute, with and without its start."""
    import optuna
    from keras_initx.tuning.storage.databases import storage_session

    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "keras_initx.tuning", "--dataset", "digits", "--workers", str(workers),
            "--epochs", str(options.epochs), "--seeds", "2", "--depth", "5", "--width", str(options.width),
            "--learning-rates", "0.001,0.003", "--activations", "relu,tanh", "--no-screening", "--quiet",
            "--results", f"{folder}/results", "--logs", f"{folder}/logs",
        ]  # fmt: skip
        started = time.perf_counter()
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
        whole = time.perf_counter() - started
        with storage_session(None, Path(folder) / "results") as storage:
            trials = optuna.load_study(study_name="keras-initx", storage=storage).trials
    begun, ended = min(t.datetime_start for t in trials), max(t.datetime_complete for t in trials)
    return {
        "workers": workers, "trials": len(trials), "seconds": whole,
        "per_minute_whole": 60 * len(trials) / whole,
        "per_minute": 60 * len(trials) / (ended - begun).total_seconds(), "load": os.getloadavg(),
    }  # fmt: skip


def workers(options):
    """Measure one worker, then two."""
    print(f"\nload {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores\n")
    print("| workers | trials | trials a minute | with the start | s |\n|---|---|---|---|---|", flush=True)
    results = []
    for count in (1, 2):
        results.append(one := tune(count, options))
        rates = f"{one['per_minute']:.1f} | {one['per_minute_whole']:.1f}"
        print(f"| {count} | {one['trials']} | {rates} | {one['seconds']:.0f} |", flush=True)
    ratio, whole = (results[1][key] / results[0][key] for key in ("per_minute", "per_minute_whole"))
    print(f"\ntwo workers / one = {ratio:.2f}, with the start {whole:.2f}")
    return results


def ask_and_tell(storage, folder, seconds, epochs, barrier, queue):
    """Run trials without training in one process until the time is over."""
    import keras_tuner
    from keras_initx.tuning import OptunaOracle

    objective = keras_tuner.Objective("val_accuracy", "max")
    oracle = OptunaOracle(objective, 10**6, "random", storage, "throughput", seed=0)
    oracle._set_project_dir(str(folder), "study")
    oracle.verbose = 0
    hp = keras_tuner.HyperParameters()
    hp.Choice("initializer", ["he_auto", "xavier_auto", "auto", "own"])
    hp.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    latencies, errors = collections.defaultdict(list), collections.Counter()

    def call(name, *arguments):
        started = time.perf_counter()
        try:
            return getattr(oracle, name)(*arguments)
        except Exception as error:
            errors[f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:100]}"] += 1
            return None
        finally:
            latencies[name].append(time.perf_counter() - started)

    for attempt in range(5):
        try:
            oracle.update_space(hp)
            break
        except Exception as error:
            # Another process may be creating the tables of the new storage at this moment.
            errors[f"opening: {type(error).__name__}: {str(error).splitlines()[0][:100]}"] += 1
            time.sleep(0.5 * (attempt + 1))
    record = {"score": 0.5, "epochs": epochs, "curves": {name: [0.5] * epochs for name in "abcd"}}
    barrier.wait(60)
    deadline, trials = time.perf_counter() + seconds, 0
    while time.perf_counter() < deadline:
        trial = call("create_trial", "tuner")
        if trial is None:
            continue
        for epoch in range(epochs):
            call("report_epoch", trial.trial_id, epoch, 0.5)
        call("report_seed", trial.trial_id, 0, record)
        oracle.update_trial(trial.trial_id, {"val_accuracy": 0.5})
        trial.status = "COMPLETED"
        call("end_trial", trial)
        trials += 1
    queue.put((trials, dict(latencies), dict(errors)))


def loaded(storage, folder, processes, options):
    """Return what several processes achieve together on one storage."""
    # Fork, so that every process has imported everything before the first one begins.
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(processes), context.Queue()
    arguments = (storage, folder, options.seconds, options.toy_epochs, barrier, queue)
    running = [context.Process(target=ask_and_tell, args=arguments, daemon=True) for _ in range(processes)]
    for process in running:
        process.start()
    results = [queue.get(timeout=options.seconds + 120) for _ in running]
    for process in running:
        process.join()
    errors = sum((collections.Counter(errors) for _, _, errors in results), collections.Counter())
    calls = {name: [s for _, latencies, _ in results for s in latencies.get(name, ())] for name in CALLS}
    return {
        "trials": sum(trials for trials, _, _ in results), "errors": dict(errors), "load": os.getloadavg(),
        "latency_ms": {
            name: {"median": 1e3 * statistics.median(seconds), "worst": 1e3 * max(seconds)}
            for name, seconds in calls.items() if seconds
        },
    }  # fmt: skip


def storages(options):
    """Measure every storage with every number of processes, each in a study of its own."""
    print(f"\nload {os.getloadavg()[0]:.1f}; {options.toy_epochs} epochs a trial; ms: median (worst)\n")
    print(
        "| storage | processes | trials/s | " + " | ".join(CALLS) + " | errors |\n|" + "---|" * 8, flush=True
    )
    results = []
    for kind in options.storages:
        if kind == "postgresql" and not postgres.PROGRAMS:
            print("| postgresql | not installed |")
            continue
        for processes in options.processes:
            with contextlib.ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                (folder / "study").mkdir()
                storage = {"sqlite": None, "journal": str(folder / "study.journal")}.get(kind)
                if kind == "postgresql":
                    storage = stack.enter_context(postgres.server())
                one = loaded(storage, folder, processes, options)
            results.append({"storage": kind, "processes": processes, **one})
            cells = [f"{v['median']:.1f} ({v['worst']:.0f})" for v in one["latency_ms"].values()]
            rate, errors = one["trials"] / options.seconds, sum(one["errors"].values())
            print(f"| {kind} | {processes} | {rate:.1f} | {' | '.join(cells)} | {errors} |", flush=True)
            for error, count in one["errors"].items():
                print(f"    {count} times {error}")
    return results


def main():
    """Measure the chosen parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=("workers", "storages"))
    parser.add_argument("--epochs", type=int, default=40, help="epochs per seed in the search by workers")
    parser.add_argument("--width", type=int, default=128, help="units per layer in that search")
    parser.add_argument("--storages", nargs="+", choices=STORAGES, default=STORAGES)
    parser.add_argument("--processes", nargs="+", type=int, default=(1, 2, 4, 8))
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each load on a storage")
    parser.add_argument(
        "--toy-epochs", type=int, default=10, help="epochs reported per trial without training"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    options = parser.parse_args()
    results = {}
    if options.only != "storages":
        results["workers"] = workers(options)
    if options.only != "workers":
        # Imported here for the forked processes.
        import keras_initx.tuning  # noqa: F401

        results["storages"] = storages(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
