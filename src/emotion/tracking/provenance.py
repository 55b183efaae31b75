"""The provenance of a run: its code, data, experiment, machine and libraries."""

import hashlib
import json
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path

import psutil

from emotion.runtime.files import file_digest, folder_files
from emotion.runtime.paths import DATASET
from emotion.tracking.git import git_commit

LIBRARIES = (
    "tensorflow",
    "keras",
    "keras-tuner",
    "numpy",
    "pandas",
    "pillow",
    "scipy",
    "scikit-learn",
    "mlflow",
    "dvc",
)


def data_hash() -> str:
    """DVC's hash of data/faces, computed from its files; `unknown` if there are none.

    It equals the one in dvc.lock, unless the files were changed since.
    """
    files = [
        {"md5": file_digest(path, "md5"), "relpath": path.relative_to(DATASET).as_posix()}
        for path in folder_files(DATASET)
    ]
    if not files:
        return "unknown"
    listed = json.dumps(sorted(files, key=lambda file: file["relpath"]), sort_keys=True)
    return f"{hashlib.md5(listed.encode(), usedforsecurity=False).hexdigest()}.dir"


def lock_hash() -> str:
    """The SHA-256 of dvc.lock; `unknown` if there is none."""
    lock = Path("dvc.lock")
    return file_digest(lock) if lock.exists() else "unknown"


def machine() -> str:
    """Name, processor, cores, memory and operating system of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    memory = psutil.virtual_memory().total / 2**30
    return f"{socket.gethostname()}: {processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def libraries() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def run_tags(stage: str, patch: str) -> dict[str, str]:
    """The tags of a stage's run."""
    commit = git_commit()
    return {
        "stage": stage,
        "mlflow.source.git.commit": commit,
        "git.dirty": "unknown" if commit == "unknown" else str(bool(patch)).lower(),
        "data.dvc_hash": data_hash() if stage not in ("fetch", "preprocess") else "",
        "machine": machine(),
        "libraries": json.dumps(libraries()),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
    }
