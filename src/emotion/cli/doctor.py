"""Check that this machine has what the pipeline needs, and suggest fixes."""

import os
import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from emotion.runtime.errors import UserError, describe_os_error
from emotion.runtime.paths import project_root
from emotion.tracking import provenance
from emotion.tracking.client import ServerUnavailableError, connection, latest_schema
from emotion.tracking.dvc_files import read_lock
from emotion.tracking.git import git_commit, uncommitted_patch
from emotion.tracking.uri import redact_credentials

MIN_FREE_GIB, MIN_MEMORY_GIB = 5, 4  # for a first run
State = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    subject: str
    state: State
    what: str
    fix: str = ""  # what to do, if anything


def run_checks() -> Iterator[Finding]:
    """Run every check, in the order of CHECKS."""
    for subject, check in CHECKS.items():
        try:
            yield check()
        except UserError as error:
            yield Finding(subject, "error", redact_credentials(str(error)))
        except OSError as error:
            yield Finding(subject, "error", describe_os_error(error))


def _python() -> Finding:
    found = platform.python_version()
    supported = metadata("emotion")["Requires-Python"]
    if found not in SpecifierSet(supported):
        return Finding("Python", "error", found, f"Install Python {supported}, delete .venv, then run `make setup`.")
    return Finding("Python", "ok", found)


def _packages() -> Finding:
    lock = project_root() / "requirements.txt"
    if not lock.exists():
        return Finding("packages", "warning", "no requirements.txt to compare with", "Run from the project's root.")
    locked = locked_versions(lock)
    differing = []
    for name, expected in locked.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found != expected:
            differing.append(f"{name} {found}, locked {expected}")
    missing = [f"{name} is not pinned in requirements.txt" for name in provenance.LIBRARIES if name not in locked]
    if differing or missing:
        return Finding("packages", "warning", "; ".join((differing or missing)[:3]), "Run `make setup`.")
    return Finding("packages", "ok", f"as pinned in requirements.txt ({len(locked)} packages)")


def locked_versions(lock: Path) -> dict[str, str]:
    """The versions of the packages that a lock file lists for this Python and platform."""
    lines = [line.rstrip(" \\") for line in lock.read_text().splitlines()]
    pins = [Requirement(line) for line in lines if "==" in line and not line.startswith((" ", "#"))]
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in pins if not pin.marker or pin.marker.evaluate()}


def _git() -> Finding:
    commit = git_commit()
    if commit == "unknown":
        return Finding("git", "error", "not a git repository: runs cannot record their commit", "Use a `git clone`.")
    changes = "uncommitted changes, which runs record" if uncommitted_patch() else "no changes"
    return Finding("git", "ok", f"{commit[:8]}, {changes}")


def _disk() -> Finding:
    free = shutil.disk_usage(project_root()).free / 2**30
    if free < MIN_FREE_GIB:
        return Finding("disk", "error", f"{free:.0f} GiB free", "Delete old outputs with `dvc gc -w`.")
    return Finding("disk", "ok", f"{free:.0f} GiB free")


def _memory() -> Finding:
    total = psutil.virtual_memory().total / 2**30
    if total < MIN_MEMORY_GIB:
        return Finding("memory", "warning", f"{total:.0f} GiB", "Lower train.batch_size and train.width.")
    return Finding("memory", "ok", f"{total:.0f} GiB")


def _processor() -> Finding:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    bfloat16 = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    cores = f"{os.cpu_count()} cores"
    if bfloat16:
        return Finding("processor", "ok", f"{cores} with {' and '.join(bfloat16)}: trains in bfloat16")
    fix = "Expect training to take about five times as long as with bfloat16."
    return Finding("processor", "warning", f"{cores} without bfloat16: trains in float32", fix)


def _mlflow() -> Finding:
    store = connection()
    path = None if store.is_remote else Path(store.uri.removeprefix("sqlite:///"))
    if path and store.uri.startswith("sqlite:///") and not path.exists():
        return Finding("MLflow", "ok", f"{store.shown_uri}: created by the first run")
    try:
        if path and store.uri.startswith("sqlite:///"):
            return _schema(path, store.shown_uri)
        _ = store.client
    except ServerUnavailableError as error:
        return Finding("MLflow", "error", error.reason, MLFLOW_FIX)
    except (UserError, sqlite3.Error) as error:
        return Finding("MLflow", "error", redact_credentials(str(error)), MLFLOW_FIX)
    return Finding("MLflow", "ok", f"{store.shown_uri} responds")


MLFLOW_FIX = "Start the server, or correct or unset MLFLOW_TRACKING_URI. For a password, set MLFLOW_TRACKING_PASSWORD."


def _schema(path: Path, shown: str) -> Finding:
    with closing(sqlite3.connect(path)) as database:
        row = database.execute("select version_num from alembic_version").fetchone()
    found = row[0] if row else "unknown"
    if found != (latest := latest_schema()):
        what = f"{shown} has the schema {found}, but MLflow {version('mlflow')} needs {latest}"
        return Finding("MLflow", "error", what, f"Back up the file, then run `mlflow db upgrade {shown}`.")
    return Finding("MLflow", "ok", f"{shown}, schema {found}")


def _outbox() -> Finding:
    if queued := len(connection().outbox):
        return Finding("outbox", "warning", f"{queued} operations are queued for the server", "Run `emotion sync`.")
    return Finding("outbox", "ok", "empty")


def _kaggle() -> Finding:
    home = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle"))
    files = [home / "access_token", home / "kaggle.json", Path.home() / ".config/kaggle/kaggle.json"]
    variables = [name for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY") if os.environ.get(name)]
    found = [*variables, *(str(path) for path in files if path.exists())]
    if found:
        return Finding("Kaggle", "ok", f"credentials in {found[0]} (not read)")
    fix = "For fetch.source=kaggle, save a token from https://www.kaggle.com/settings as ~/.kaggle/access_token."
    return Finding("Kaggle", "warning", "no credentials", fix)


def _dvc() -> Finding:
    root = project_root()
    if not (root / ".dvc").is_dir():
        return Finding("DVC", "error", "no .dvc folder", "Run from the project's root.")
    outputs = {out.path: out.md5 for stage in read_lock(root).stages.values() for out in stage.outs}
    cache = root / ".dvc/cache/files/md5"
    missing = [
        path for path, md5 in outputs.items()
        if not (root / path).exists() and not (cache / md5[:2] / md5[2:]).exists()
    ]  # fmt: skip
    if missing:
        what = f"{len(missing)} of {len(outputs)} outputs are neither here nor in the cache: {missing[0]}"
        return Finding("DVC", "warning", what, "Run `dvc repro` or `dvc pull`.")
    return Finding("DVC", "ok", f"dvc.lock is here; all {len(outputs)} outputs are here or cached")


def _backup() -> Finding:
    from emotion.registry.backup import backup_warnings, hashes

    root = project_root()
    if not (root / "dvc.lock").exists():
        return Finding("backup", "ok", "nothing to push yet")
    if warnings := backup_warnings(git_commit(), hashes(read_lock(root))):
        return Finding("backup", "warning", " ".join(warnings))
    return Finding("backup", "ok", "the commit, the data and the model were pushed")


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": _python, "packages": _packages, "git": _git, "disk": _disk, "memory": _memory, "processor": _processor,
    "MLflow": _mlflow, "outbox": _outbox, "Kaggle": _kaggle, "DVC": _dvc, "backup": _backup,
}  # fmt: skip
