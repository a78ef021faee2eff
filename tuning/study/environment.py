"""The machine and the versions that a search runs on, as its study remembers them."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import optuna

import keras_initx

# One attribute for each machine, named by its content: processes of a search never write over another's.
MACHINE = "machine_"
_PACKAGES = ("keras", "keras-tuner", "optuna", "numpy")
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_PROCESSOR = Path("/proc/cpuinfo")


def this_machine() -> dict[str, Any]:
    """What this process runs on: versions, backend, system, processor and graphics cards.

    No name of the machine or of a user, no path and no environment.

    >>> sorted(this_machine())
    ['backend', 'cores', 'cpu', 'devices', 'gpus', 'system', 'versions']
    """
    backend = keras.backend.backend()
    # Keras has imported it; under which name it was installed (tensorflow-cpu, tf-nightly) does not matter.
    library = getattr(sys.modules.get(backend), "__version__", "unknown")
    return {
        "versions": {
            "keras-initx": keras_initx.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
            backend: library,
        },
        "backend": backend,
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpus": _gpus(),
        "devices": _devices(),
    }


def note_machine(study: optuna.Study) -> None:
    """Stores this machine in a study, beside those that have searched before."""
    found = this_machine()
    key = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
    if f"{MACHINE}{key}" not in study.user_attrs:
        study.set_user_attr(f"{MACHINE}{key}", found)


def machines_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The machines that the attributes of a study tell of."""
    return [dict(found) for name, found in sorted(attributes.items()) if name.startswith(MACHINE)]


def _cpu() -> str:
    # Where `platform.processor` knows the kind only, or nothing.
    return _first(_PROCESSOR, "model name") or platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """The names of the machine's NVIDIA cards, in use or not: no backend has a common word for them."""
    found = (_first(path, "Model") for path in sorted(_NVIDIA.glob("*/information")))
    return [name for name in found if name]


def _devices() -> str:
    """What the backend trains on: "gpu", "cpu", or "" where it does not say."""
    try:
        found = keras.distribution.list_devices()
    except (AttributeError, ImportError, NotImplementedError):
        return ""
    # Of their numbers each worker has its own.
    return ", ".join(sorted({str(device).split(":")[0].lower() for device in found}))


def _first(path: Path, key: str) -> str:
    """The first value of a key in a file of the kernel's."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    values = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in values if name.strip() == key), "")
