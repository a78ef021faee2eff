"""Searches on a PostgreSQL server that these tests start themselves."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from keras_initx.tuning.storage.databases import open_storage
from keras_initx.tuning.study.attributes import OWNER_ATTRIBUTE, seed_records

from keras_initx import InitxError
from tests.support import processes
from tests.support.shared_search import command, curves, of_one_process
from tests.support.studies import running, study_of_others, trials_of, wait_for

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
PASSWORD = "not-to-be-seen"
# A network of this process alone, because a killed test run may have left its own behind.
NETWORK = f"10.{64 + os.getpid() // 254 % 128}.{1 + os.getpid() % 254}"

pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server is installed (Debian: postgresql)"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a server in a temporary folder, with a user who needs a password."""
    pytest.importorskip("psycopg2")
    # The server refuses to run as root, and other users cannot read the folders of pytest.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="initx") as name, socket.socket() as probe:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        data = folder / "data"

        def run(program: str, *arguments: str) -> None:
            command = [*as_user, str(PROGRAMS[-1] / program), *arguments]
            subprocess.run(command, check=True, capture_output=True)

        run("initdb", "-D", str(data), "-U", "me", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {NETWORK}.0/24 scram-sha-256\n")
        options = f"-p {port} -k {folder} -c listen_addresses='*' -c fsync=off"
        run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
        try:
            yield f"postgresql+psycopg2://me:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


def command_lines() -> str:
    """The command lines of all processes, which every user of the machine may read."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_two_workers_one_of_them_killed(
    server: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    go = tmp_path / "go"
    process = processes.start(
        processes.command_line_of_waiting_workers,
        str(go),
        *command(tmp_path, "--workers", "2"),
        output=tmp_path / "out",
        environment={"KERAS_INITX_STORAGE": server},
    )

    def with_one_seed() -> optuna.trial.FrozenTrial | None:
        return next((t for t in running(others) if len(seed_records(t)) == 1), None)

    with study_of_others(server, tmp_path, "results", process.is_alive) as others:
        killed = wait_for(with_one_seed, process.is_alive)
    before = seed_records(killed)
    assert PASSWORD not in command_lines()
    os.kill(killed.user_attrs[OWNER_ATTRIBUTE]["pid"], signal.SIGKILL)
    go.touch()
    process.join(1000)
    assert process.exitcode == 0, processes.errors_of(tmp_path / "out")
    finished = trials_of(server, tmp_path, "results")
    assert [t.state.name for t in finished] == ["COMPLETE"] * 6
    (seed,) = before
    assert seed_records(finished[killed.number])[seed] == before[seed]
    # The password is in no file, which includes what the process printed.
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert PASSWORD.encode() not in path.read_bytes(), path
    assert not (tmp_path / "results/study.db").exists()

    # One process with a file finds the same trials and scores.
    assert curves(tmp_path) == curves(of_one_process(tmp_path_factory), seeds=2)


def test_wrong_password_and_missing_server(server: str, tmp_path: Path) -> None:
    for url in (server.replace(PASSWORD, "wrong"), server.replace("127.0.0.1:", "127.0.0.1:1")):
        with pytest.raises(InitxError, match=r"^`storage` .*'postgresql\+psycopg2://me:\*\*\*@127") as caught:
            open_storage(url, tmp_path)
        assert "wrong" not in str(caught.value)
        assert PASSWORD not in str(caught.value)


# A worker with a fast heartbeat and slow epochs. Its process may not be forked, because another network
# namespace needs a command of its own.
WORKER = """
import os, sys, time
import keras, numpy as np
import keras_initx
from keras_initx.tuning import Execution, Range, Results, SearchSpace, search
from keras_initx.tuning.study import heartbeat
heartbeat.HEARTBEAT_SECONDS, heartbeat.STALE_SECONDS = 1.0, 6.0

def build():
    layers = [keras.Input((4,)), keras.layers.Dense(4), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=True)
    return model

class Slow:
    def on_trial_begin(self, trial, seeds): print("begin", int(trial.trial_id), flush=True)
    def on_epoch_end(self, epochs): time.sleep(0.5)
    def on_seed_end(self, trial, seed, *more): print("seed", int(trial.trial_id), seed, flush=True)
    def on_trial_end(self, trial, status): print("end", int(trial.trial_id), status, flush=True)

x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
search(build, x, y, validation_data=(x, y), tuner="random", trials=4, epochs=8, seeds=3,
       space=SearchSpace(learning_rates=Range(1e-4, 1e-2)), execution=Execution(jit_compile=False), verbose=0,
       results=Results(sys.argv[1] + "/cut", "join", sys.argv[1] + "/logs", os.environ["URL"]),
       observers=[Slow()])
"""


@pytest.fixture
def network() -> Iterator[str]:
    """The virtual cable between this machine and a network namespace."""
    name = f"initx{os.getpid()}"
    cable, plug = f"ix{os.getpid() % 10**6}a", f"ix{os.getpid() % 10**6}b"
    steps = [
        f"netns add {name}", f"link add {cable} type veth peer name {plug} netns {name}",
        f"addr add {NETWORK}.1/24 dev {cable}", f"link set {cable} up",
        f"-n {name} addr add {NETWORK}.2/24 dev {plug}", f"-n {name} link set {plug} up",
        f"-n {name} link set lo up",
    ]  # fmt: skip
    try:
        try:
            for step in steps:
                subprocess.run(["ip", *step.split()], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this machine allows no network namespace: {error}")
        yield cable
    finally:
        subprocess.run(["ip", "link", "del", cable], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def test_worker_that_is_cut_off_and_comes_back(server: str, network: str, tmp_path: Path) -> None:
    def start(folder: str, url: str, *prefix: str) -> subprocess.Popen[str]:
        (tmp_path / folder).mkdir()
        command = [*prefix, sys.executable, "-c", WORKER, str(tmp_path / folder)]
        with (tmp_path / folder / "out").open("w") as out, (tmp_path / folder / "err").open("w") as err:
            return subprocess.Popen(
                command, env={**os.environ, "URL": url}, stdout=out, stderr=err, text=True
            )

    far = start(
        "far", server.replace("127.0.0.1", f"{NETWORK}.1"), "ip", "netns", "exec", f"initx{os.getpid()}"
    )
    near = None
    try:
        # `ip netns exec` replaces itself by the worker, so both have the same process id.
        with study_of_others(server, tmp_path, "cut", lambda: far.poll() is None) as others:
            cut = wait_for(
                lambda: next((t for t in others.trials if is_of(t, far) and seed_records(t)), None),
                lambda: far.poll() is None,
            )
            near = start("near", server)
            subprocess.run(["ip", "link", "set", network, "down"], check=True)
            before = seed_records(others.trials[cut.number])
            wait_for(lambda: is_of(others.trials[cut.number], near), lambda: near.poll() is None)
        subprocess.run(["ip", "link", "set", network, "up"], check=True)
        for process in (far, near):
            assert process.wait(timeout=1000) == 0, (tmp_path / "far/err").read_text()[-3000:]
    finally:
        for process in [p for p in (far, near) if p is not None and p.poll() is None]:
            process.kill()
            process.wait()
    done = trials_of(server, tmp_path, "cut")
    assert [t.state.name for t in done] == ["COMPLETE"] * 4
    after = seed_records(done[cut.number])
    assert list(after) == [0, 1, 2]
    assert {seed: after[seed] for seed in before} == before
    printed = {name: (tmp_path / name / "out").read_text().split("\n") for name in ("far", "near")}
    seeds = [line for lines in printed.values() for line in lines if line.startswith("seed")]
    # Each seed of each trial was reported once, by one of the two.
    assert sorted(seeds) == sorted(f"seed {trial} {seed}" for trial in range(4) for seed in range(3))
    assert f"end {cut.number} completed" in printed["near"]
    assert f"end {cut.number} taken over" in printed["far"]


def is_of(trial: optuna.trial.FrozenTrial, process: subprocess.Popen[str]) -> bool:
    return bool((trial.user_attrs.get(OWNER_ATTRIBUTE) or {}).get("pid") == process.pid)
