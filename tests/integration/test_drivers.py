"""Test the scripts of examples/scale, and an Optuna driver, with a process that is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from keras_initx.tuning.study.attributes import seed_records

ROOT = Path(__file__).parents[2]
SCALE = ROOT / "examples/scale"
pytestmark = [pytest.mark.slow, pytest.mark.one_backend]

# An observer that notes every seed, and kills its process after the first one.
NOTING = """
import os, pathlib, runpy, signal, sys
import keras_initx.tuning as tuning

class Noting:
    def on_trial_begin(self, trial, seeds): ...
    def on_epoch_end(self, epochs): ...
    def on_trial_end(self, trial, status): ...
    def on_seed_end(self, trial, seed, record, skipped_epochs):
        folder = pathlib.Path(os.environ["RESULTS"])
        with (folder / "seeds").open("a") as file:
            file.write(f"{trial.trial_id} {seed}\\n")
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

made = tuning.objective
tuning.objective = lambda *args, **options: made(*args, observers=[Noting()], **options)
"""
RUN = NOTING + "runpy.run_path(sys.argv[1], run_name='__main__')"
OPTIMIZE = (
    NOTING
    + """
import warnings
import keras, numpy as np, optuna

def build():
    layers = [keras.layers.Dense(4, "tanh"), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.Input((4,)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
goal = tuning.objective(
    build, x, y, validation_data=(x, y), epochs=1, results=os.environ["RESULTS"],
    space=tuning.SearchSpace(["auto", "own"]), execution=tuning.Execution(jit_compile=False),
)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
new = hasattr(optuna.storages, "RetryHeartbeatStaleTrialCallback")
callback = getattr(optuna.storages, f"Retry{'HeartbeatStale' if new else 'Failed'}TrialCallback")()
again = {f"{'heartbeat_stale' if new else 'failed'}_trial_callback": callback}
storage = optuna.storages.RDBStorage(os.environ["URL"], heartbeat_interval=1, grace_period=2, **again)
study = optuna.create_study(storage=storage, study_name="s", direction=goal.direction, load_if_exists=True)
study.optimize(goal, n_trials=2)
"""
)


def environment(folder: Path, **more: str) -> dict[str, str]:
    folder.mkdir()
    # A process imports JAX in half the time of TensorFlow, and these tests start many.
    own = {
        "RESULTS": str(folder),
        "KERAS_BACKEND": "jax",
        "PYTHON": sys.executable,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        # Ray lowers the priority of its workers, which would wait for all other tests on a busy machine.
        "RAY_worker_niceness": "0",
    }
    return {**os.environ, **own, "PYTHONPATH": str(ROOT), **more}


def run(*command: Any, cwd: Path = ROOT, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=1100
    )


def test_ray_starts_a_killed_trial_again_and_runs_each_seed_once(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    done = run(sys.executable, "-c", RUN, SCALE / "ray_tune.py", env=environment(folder))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Best: {" in done.stdout
    assert (folder / "killed").exists()
    notes = (folder / "seeds").read_text().splitlines()
    assert len(set(notes)) == len(notes)
    trials = [json.loads(path.read_text()) for path in folder.glob("trial_*/attributes.json")]
    assert len(trials) == 4
    for trial in trials:
        seeds = [name for name in trial if name.startswith("seed_")]
        assert seeds == ([] if trial.get("ended") else ["seed_0", "seed_1"])
    assert len(notes) == sum(name.startswith("seed_") for trial in trials for name in trial)


def test_optuna_adds_the_trial_of_a_killed_process_again_with_its_seeds(tmp_path: Path) -> None:
    env = environment(tmp_path / "results", URL=f"sqlite:///{tmp_path}/study.db")
    assert run(sys.executable, "-c", OPTIMIZE, cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    done = run(sys.executable, "-c", OPTIMIZE, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    trials = optuna.load_study(study_name="s", storage=env["URL"]).trials
    assert [t.state.name for t in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert [list(seed_records(t)) for t in trials[:2]] == [[0], [0, 1, 2]]
    # The first seed ran once, in the folder that the second attempt shares.
    notes = (tmp_path / "results/seeds").read_text().splitlines()
    assert notes[:3] == ["0000 0", "0000 1", "0000 2"]
    assert len(notes) == 6


def test_tasks_of_slurm_share_one_search(tmp_path: Path) -> None:
    env = environment(tmp_path / "ignored", RESULTS=str(tmp_path / "results"))
    script = ["bash", str(SCALE / "slurm_array.sh")]
    tasks = [
        subprocess.Popen(script, cwd=ROOT, env={**env, "SLURM_ARRAY_TASK_ID": str(n)}, stdout=subprocess.PIPE)
        for n in range(2)
    ]
    outputs = [task.communicate(timeout=1100)[0].decode() for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert all("Best of 4 trials" in output for output in outputs)
    results = json.loads((tmp_path / "results/results.json").read_text())
    assert [sorted(trial["seeds"]) for trial in results["trials"]] == [["0", "1"]] * 4


def test_the_job_of_kubernetes_runs_the_same_program() -> None:
    job = yaml.safe_load((SCALE / "kubernetes_job.yaml").read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "examples/scale/train.py"]
    assert {e["name"] for e in container["env"]} == {"RESULTS", "KERAS_INITX_STORAGE"}
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    for name in ("RESULTS", "KERAS_INITX_STORAGE"):
        assert name in (SCALE / "train.py").read_text(encoding="utf-8")
