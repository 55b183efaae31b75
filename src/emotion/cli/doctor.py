"""What is needed to work here, and how to mend what is not there."""

import os
import platform
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import yaml

from emotion.runtime.errors import UserError
from emotion.runtime.paths import project_root
from emotion.tracking import client as store
from emotion.tracking import provenance

FREE_GIB, MEMORY_GIB = 5, 4  # that a first run needs
State = Literal["well", "warning", "ill"]


@dataclass(frozen=True)
class Finding:
    """What one look found."""

    subject: str
    state: State
    what: str
    fix: str = ""  # what to do, where there is something


def examine() -> Iterator[Finding]:
    """Every finding, in the order in which they matter."""
    for look in LOOKS:
        yield look()


def _python() -> Finding:
    found = platform.python_version()
    well = found.startswith("3.11.")
    return Finding("Python", "well" if well else "ill", found, "" if well else "Install Python 3.11; `make setup`.")


def _packages() -> Finding:
    lock = project_root() / "requirements.txt"
    if not lock.exists():
        return Finding(
            "packages", "warning", "no requirements.txt here to compare with", "Run from the project's root."
        )
    text = lock.read_text()
    locked = dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)(?!.*sys_platform == 'win32')", text, re.MULTILINE))
    others = []
    for name, wanted in locked.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            continue  # for another system
        if found != wanted:
            others.append(f"{name} {found}, locked {wanted}")
    missing = [name for name in provenance.LIBRARIES if name not in locked]
    if others or missing:
        return Finding("packages", "warning", "; ".join((others or missing)[:3]), "`make setup` installs the lock.")
    return Finding("packages", "well", f"as requirements.txt locks them ({len(locked)})")


def _git() -> Finding:
    commit = provenance.git_commit()
    if commit == "unknown":
        return Finding("git", "ill", "no repository: no run can say which code it ran", "`git clone` the project.")
    changed = "with uncommitted changes, which runs record" if provenance.uncommitted_patch() else "nothing uncommitted"
    return Finding("git", "well", f"{commit[:8]}, {changed}")


def _disk() -> Finding:
    free = shutil.disk_usage(project_root()).free / 2**30
    state: State = "well" if free >= FREE_GIB else "ill"
    return Finding("disk", state, f"{free:.0f} GiB free", "" if state == "well" else "`dvc gc -w` frees old outputs.")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    state: State = "well" if total >= MEMORY_GIB else "warning"
    return Finding("memory", state, f"{total:.0f} GiB", "" if state == "well" else "Lower train.batch_size and width.")


def _processor() -> Finding:
    try:
        flags = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        flags = set()
    quick = [flag for flag in ("amx_bf16", "avx512_bf16") if flag in flags]
    if quick:
        return Finding("processor", "well", f"{os.cpu_count()} cores with {' and '.join(quick)}: trains in bfloat16")
    fix = "Expect about five times the training times in the README."
    return Finding("processor", "warning", f"{os.cpu_count()} cores without bfloat16: trains in float32", fix)


def _tracking() -> Finding:
    uri, shown = store.store_uri(), store.without_password(store.store_uri())
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        return Finding("MLflow", "well", f"{shown}: made by the first run")
    try:
        if uri.startswith("sqlite:///"):
            return _schema(Path(uri.removeprefix("sqlite:///")), shown)
        store.connect()
    except (UserError, sqlite3.Error) as error:
        return Finding("MLflow", "ill", store.without_password(str(error)).split(". Start the")[0], _SERVER_FIX)
    return Finding("MLflow", "well", f"{shown} answers")


_SERVER_FIX = "Start the server, or mend or unset MLFLOW_TRACKING_URI (a password: MLFLOW_TRACKING_PASSWORD)."


def _schema(path: Path, shown: str) -> Finding:
    with closing(sqlite3.connect(path)) as database:
        (found,) = database.execute("select version_num from alembic_version").fetchone()
    newest = store.newest_schema()
    if found != newest:
        fix = f"`mlflow db upgrade {shown}`, after a copy of the file."
        return Finding(
            "MLflow", "ill", f"{shown} has the schema {found}, MLflow {version('mlflow')} needs {newest}", fix
        )
    return Finding("MLflow", "well", f"{shown}, schema {found}")


def _journal() -> Finding:
    waiting = len(store.waiting())
    if waiting:
        return Finding("journal", "warning", f"{waiting} operations wait for the MLflow server", "`emotion sync`.")
    return Finding("journal", "well", "empty")


def _kaggle() -> Finding:
    home = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle"))
    places = [home / "access_token", home / "kaggle.json", Path.home() / ".config/kaggle/kaggle.json"]
    named = [name for name in ("KAGGLE_API_TOKEN", "KAGGLE_KEY") if os.environ.get(name)]
    found = [*named, *(str(path) for path in places if path.exists())]
    if found:
        return Finding("Kaggle", "well", f"credentials in {found[0]} (not read)")
    fix = "A token from https://www.kaggle.com/settings in ~/.kaggle/access_token, only for fetch.source=kaggle."
    return Finding("Kaggle", "warning", "no credentials", fix)


def _dvc() -> Finding:
    root = project_root()
    if not (root / ".dvc").is_dir():
        return Finding("DVC", "ill", "no .dvc folder here", "Run from the project's root.")
    try:
        lock = yaml.load((root / "dvc.lock").read_text(), Loader=yaml.CSafeLoader)
        outputs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        return Finding(
            "DVC", "ill", f"dvc.lock: {str(error).splitlines()[0]}", "`git checkout dvc.lock`, or `dvc repro`."
        )
    cache = root / ".dvc/cache/files/md5"
    lost = [
        out["path"] for out in outputs
        if not (root / out["path"]).exists() and not (cache / out["md5"][:2] / out["md5"][2:]).exists()
    ]  # fmt: skip
    if lost:
        what = f"{len(lost)} of {len(outputs)} outputs are neither here nor in the cache: {lost[0]}"
        return Finding("DVC", "warning", what, "`dvc repro` makes them, `dvc pull` brings them.")
    return Finding("DVC", "well", f"dvc.lock and all {len(outputs)} outputs are here")


LOOKS: tuple[Callable[[], Finding], ...] = (
    _python, _packages, _git, _disk, _memory, _processor, _tracking, _journal, _kaggle, _dvc,
)  # fmt: skip
