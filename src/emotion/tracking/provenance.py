"""The provenance of a run: its code, data, experiment, machine and libraries."""

import hashlib
import json
import os
import platform
import socket
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import psutil

from emotion.runtime.files import file_digest, folder_files
from emotion.runtime.paths import DATASET

# Outputs of the pipeline are not code changes.
_OUTPUTS = (":!dvc.lock", ":!reports")
# Untracked files count as code only in these folders; elsewhere they may be data or credentials.
_CODE = ("src", "tests", "benchmarks")
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


def git_commit() -> str:
    """The commit that is checked out; `unknown` outside a git repository."""
    return _git("rev-parse", "HEAD").strip() or "unknown"


def uncommitted_patch() -> str:
    """The diff against the checked-out commit, including untracked source files; empty for a clean tree.

    `git apply` on the commit restores the code. The index is not changed.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git("read-tree", "HEAD", env=index)
        _git("add", "--update", "--", ".", env=index)
        for code in filter(os.path.isdir, _CODE):
            _git("add", "--all", "--", code, env=index)
        return _git("diff", "--cached", "--binary", "HEAD", "--", ".", *_OUTPUTS, env=index)


def _git(*arguments: str, env: dict[str, str] | None = None) -> str:
    """A git command's output; empty if it fails or git is not installed."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=True, env={**os.environ, **(env or {})})
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode(errors="replace")


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
