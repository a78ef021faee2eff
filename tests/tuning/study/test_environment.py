"""The machines that a study stores."""

import os
import platform
from pathlib import Path

import keras
import optuna
import pytest
from keras_initx.tuning.study import environment

import keras_initx

pytestmark = pytest.mark.one_backend


def test_this_machine() -> None:
    machine = environment.this_machine()
    versions = machine["versions"]
    assert versions["keras"] == keras.__version__
    assert versions["optuna"] == optuna.__version__
    assert versions["keras-initx"] == keras_initx.__version__
    assert versions["python"] == platform.python_version()
    assert versions[keras.backend.backend()][0].isdigit()
    assert machine["backend"] == keras.backend.backend()
    assert machine["cores"] == os.cpu_count()
    assert machine["cpu"]
    assert machine["devices"] in ("cpu", "gpu")


def test_no_private_data_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_INITX_STORAGE", "postgresql://me:sesame@host/db")
    machine = str(environment.this_machine())
    for private in ("sesame", str(Path.home()), platform.node()):
        assert private not in machine


def test_names_of_processor_and_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In the format of the kernel and of NVIDIA's driver.
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(
        "processor\t: 0\nvendor_id\t: Abacus\nmodel name\t: Abacus 9: the tenth\nmodel name\t: no\n"
    )
    for number in (0, 1):
        (tmp_path / f"gpus/000{number}").mkdir(parents=True)
        (tmp_path / f"gpus/000{number}/information").write_text(f"Model: \t\t NVIDIA {number}\nIRQ: 1\n")
    monkeypatch.setattr(environment, "_PROCESSOR", cpu)
    monkeypatch.setattr(environment, "_NVIDIA", tmp_path / "gpus")
    machine = environment.this_machine()
    assert machine["cpu"] == "Abacus 9: the tenth"
    assert machine["gpus"] == ["NVIDIA 0", "NVIDIA 1"]
    monkeypatch.setattr(environment, "_PROCESSOR", tmp_path / "none")
    assert environment.this_machine()["cpu"] in (platform.processor(), platform.machine())


def test_each_machine_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    study = optuna.create_study()
    environment.store_machine(study)
    environment.store_machine(study)
    study.set_user_attr("settings", {"seed": 0})
    assert environment.machines_of(study.user_attrs) == [environment.this_machine()]
    monkeypatch.setattr(os, "cpu_count", lambda: 1234)
    environment.store_machine(study)
    assert {machine["cores"] for machine in environment.machines_of(study.user_attrs)} >= {1234}
    assert len(environment.machines_of(study.user_attrs)) == 2
