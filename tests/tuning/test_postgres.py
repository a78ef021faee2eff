"""Searches on a real PostgreSQL server, which these tests start for themselves."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from keras_initx.tuning.records import OWNER, seed_records
from keras_initx.tuning.storages import open_storage, opened

from keras_initx import InitxError

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []
PASSWORD = "not-to-be-seen"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server is installed (Debian: postgresql)"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: Any) -> Iterator[str]:
    """The URL of a server in a folder of its own, with a user whose password is asked for."""
    pytest.importorskip("psycopg2")
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "password").write_text(PASSWORD)
    # The server refuses to run as root.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        for path in (folder, *folder.parents):
            if path.is_relative_to("/tmp") and path != Path("/tmp"):
                path.chmod(0o755)
        folder.chmod(0o777)
        (folder / "password").chmod(0o644)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    binaries = PROGRAMS[-1]

    def run(program: str, *arguments: str) -> None:
        subprocess.run([*as_user, str(binaries / program), *arguments], check=True, capture_output=True)

    run("initdb", "-D", str(data), "-U", "me", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")
    try:
        yield f"postgresql+psycopg2://me:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")


TUNE = [
    "--dataset", "iris", "--initializers", "he_auto,he_normal,auto", "--activations", "relu,tanh",
    "--learning-rates", "0.003", "--seeds", "2", "--no-jit-compile", "--quiet",
]  # fmt: skip


def tune(folder: Path, storage: str | None, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "keras_initx.tuning",
        *TUNE,
        *options,
        "--results",
        str(folder / "results"),
    ]
    environment = {**os.environ, **({"KERAS_INITX_STORAGE": storage} if storage else {})}
    return subprocess.Popen(
        [*command, "--results", str(folder / "results"), "--logs", str(folder / "logs")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trials(url: str) -> list[optuna.trial.FrozenTrial]:
    try:
        with opened(url) as storage:
            return optuna.load_study(study_name="results", storage=storage).trials
    except (KeyError, InitxError):
        # Not there yet.
        return []


def curves(trial: dict[str, Any]) -> list[Any]:
    return [record["curves"] for record in trial["seeds"].values()]


def commands() -> str:
    """The command lines of all processes, as anybody on the machine may read them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(lines)


def test_two_workers_one_of_them_killed(server: str, tmp_path: Path) -> None:
    process = tune(tmp_path, server, "--epochs", "25", "--workers", "2")
    killed, deadline = None, time.monotonic() + 200
    while killed is None and time.monotonic() < deadline:
        time.sleep(0.05)
        for trial in trials(server):
            if trial.state.name == "RUNNING" and OWNER in trial.user_attrs and len(seed_records(trial)) == 1:
                killed, before = trial, seed_records(trial)
                assert PASSWORD not in commands()
                os.kill(trial.user_attrs[OWNER]["pid"], signal.SIGKILL)
                break
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert killed is not None
    found = trials(server)
    assert [t.state.name for t in found] == ["COMPLETE"] * 6
    (seed,) = before
    assert seed_records(found[killed.number])[seed] == before[seed]
    # Nowhere is the password written down.
    assert PASSWORD not in out + err
    for path in [p for p in tmp_path.rglob("*") if p.is_file()]:
        assert PASSWORD.encode() not in path.read_bytes(), path
    assert not (tmp_path / "results/study.db").exists()

    alone = tune(tmp_path / "alone", None, "--epochs", "25")
    _, err = alone.communicate(timeout=300)
    assert alone.returncode == 0, err
    # The same trials and scores as on a file, by one process.
    results = [json.loads((p / "results/results.json").read_text()) for p in (tmp_path, tmp_path / "alone")]
    one, two = (
        {json.dumps(t["hyperparameters"], sort_keys=True): curves(t) for t in r["trials"]} for r in results
    )
    assert one == two


def test_a_wrong_password_and_a_server_that_is_not_there(server: str, tmp_path: Path) -> None:
    for url in (server.replace(PASSWORD, "wrong"), server.replace("127.0.0.1:", "127.0.0.1:1")):
        with pytest.raises(
            InitxError, match=r"^storage: received 'postgresql\+psycopg2://me:\*\*\*@127"
        ) as caught:
            open_storage(url, tmp_path)
        assert "wrong" not in str(caught.value)
        assert PASSWORD not in str(caught.value)
