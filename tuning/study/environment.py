"""The machine and the versions that a search runs on, as its study stores them."""

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

# One attribute for each machine, with a hash of its content, so that no process overwrites another machine.
MACHINE_PREFIX = "machine_"
_PACKAGES = ("keras", "keras-tuner", "optuna", "numpy")
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_PROCESSOR = Path("/proc/cpuinfo")


def this_machine() -> dict[str, Any]:
    """Return the versions, backend, system, processor and graphics cards that this process runs on.

    It contains no name of the machine or of a user, no path and no environment variable.

    >>> sorted(this_machine())
    ['backend', 'cores', 'cpu', 'devices', 'gpus', 'system', 'versions']
    """
    backend = keras.backend.backend()
    # Keras has imported the backend, which may be installed under another name (tensorflow-cpu, tf-nightly).
    backend_version = getattr(sys.modules.get(backend), "__version__", "unknown")
    return {
        "versions": {
            "keras-initx": keras_initx.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
            backend: backend_version,
        },
        "backend": backend,
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpus": _gpus(),
        "devices": _devices(),
    }


def store_machine(study: optuna.Study) -> None:
    """Store this machine in a study, in addition to the machines stored before."""
    machine = this_machine()
    digest = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:12]
    if f"{MACHINE_PREFIX}{digest}" not in study.user_attrs:
        study.set_user_attr(f"{MACHINE_PREFIX}{digest}", machine)


def machines_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the machines that the attributes of a study contain."""
    return [dict(value) for name, value in sorted(attributes.items()) if name.startswith(MACHINE_PREFIX)]


def _cpu() -> str:
    # `platform.processor` returns only the architecture on Linux, or nothing.
    return _first(_PROCESSOR, "model name") or platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Return the names of all NVIDIA cards; the backends share no interface for them."""
    names = (_first(path, "Model") for path in sorted(_NVIDIA.glob("*/information")))
    return [name for name in names if name]


def _devices() -> str:
    """Return the kinds of devices that the backend trains on, such as "cpu" or "gpu"; "" if unknown."""
    try:
        devices = keras.distribution.list_devices()
    except (AttributeError, ImportError, NotImplementedError):
        return ""
    # The numbers are left out, because they differ between workers.
    return ", ".join(sorted({str(device).split(":")[0].lower() for device in devices}))


def _first(path: Path, key: str) -> str:
    """Return the first value of a key in a file of `/proc`, or ""."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    values = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in values if name.strip() == key), "")
