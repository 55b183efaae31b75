"""Which code, data, experiment, machine and libraries: what a run must carry to be believed later."""

import hashlib
import json
import os
import platform
import socket
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

import yaml

# What the pipeline itself writes is no change of the code.
_OUTPUTS = (":!dvc.lock", ":!reports")
# New files count as code only here: elsewhere they may be data, or a credential.
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
    """What differs from that commit, new files of code included; empty for a clean tree.

    `git apply` on the commit brings the code back. The index is left as it is.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git("read-tree", "HEAD", env=index)
        _git("add", "--update", "--", ".", env=index)
        for folder_of_code in filter(os.path.isdir, _CODE):
            _git("add", "--all", "--", folder_of_code, env=index)
        return _git("diff", "--cached", "--binary", "HEAD", "--", ".", *_OUTPUTS, env=index)


def _git(*arguments: str, env: dict[str, str] | None = None) -> str:
    """A git command's output; empty where it fails or git is not there."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=True, env={**os.environ, **(env or {})})
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode(errors="replace")


def data_hash() -> str:
    """DVC's hash of data/faces, as dvc.lock has it; `unknown` before preprocess ran under DVC."""
    try:
        lock = yaml.safe_load(Path("dvc.lock").read_text())
        outputs = lock["stages"]["preprocess"]["outs"]
    except (OSError, KeyError, TypeError):
        return "unknown"
    return next((out["md5"] for out in outputs if out["path"] == "data/faces"), "unknown")


def lock_hash() -> str:
    """SHA-256 of dvc.lock as it is now; `unknown` where there is none."""
    lock = Path("dvc.lock")
    return hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else "unknown"


def machine() -> str:
    """Name, processor, cores, memory and system of this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{socket.gethostname()}: {processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def libraries() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def tags(stage: str, patch: str) -> dict[str, str]:
    """The tags of a stage's run."""
    return {
        "stage": stage,
        "mlflow.source.git.commit": git_commit(),
        "git.dirty": "unknown" if git_commit() == "unknown" else str(bool(patch)).lower(),
        "data.dvc_hash": data_hash() if stage not in ("fetch", "preprocess") else "",
        "machine": machine(),
        "libraries": json.dumps(libraries()),
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": os.environ.get("DVC_EXP_BASELINE_REV", ""),
    }
