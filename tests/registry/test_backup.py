"""Warnings about commits, data and models that exist only on this machine."""

import subprocess
from pathlib import Path

import pytest

from emotion.registry.backup import backup_warnings

DATA = {"data/faces": "1ab1dbf8d554e7a2dab6c86a55586bd4.dir"}


def run(*command: str, folder: Path) -> str:
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with DVC and a commit that was not pushed."""
    run("git", "init", "--bare", "-b", "main", "upstream", folder=tmp_path)
    run("git", "clone", "upstream", "clone", folder=tmp_path)
    folder = tmp_path / "clone"
    for key, value in {"user.name": "Ada", "user.email": "ada@example.org"}.items():
        run("git", "config", key, value, folder=folder)
    run("dvc", "init", "-q", folder=folder)
    run("git", "commit", "-qm", "begin", folder=folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    return folder


def test_a_commit_that_was_never_pushed_is_named_until_it_is(clone: Path) -> None:
    commit = run("git", "rev-parse", "HEAD", folder=clone)
    assert backup_warnings(commit, {}) == [f"The commit {commit[:8]} was never pushed. Run `git push`."]
    run("git", "push", "-q", "origin", "HEAD:main", folder=clone)
    assert backup_warnings(commit, {}) == []
    assert backup_warnings("unknown", {}) == []


def test_data_that_no_remote_has_is_named_until_it_is_pushed(clone: Path, tmp_path: Path) -> None:
    (warning,) = backup_warnings("unknown", DATA)
    assert warning.startswith("No default DVC remote is set, so DVC has no other copy of data/faces.")
    run("dvc", "remote", "add", "-q", "-d", "backup", str(tmp_path / "remote"), folder=clone)
    assert backup_warnings("unknown", DATA) == ["The default DVC remote lacks data/faces. Run `dvc push`."]
    (clone / "faces").mkdir()
    (clone / "faces/index.csv").write_text("name\n")
    run("dvc", "add", "-q", "faces", folder=clone)
    md5 = next(line.split()[-1] for line in (clone / "faces.dvc").read_text().splitlines() if "md5:" in line)
    assert backup_warnings("unknown", {"faces": md5}) == ["The default DVC remote lacks faces. Run `dvc push`."]
    run("dvc", "push", "-q", folder=clone)
    assert backup_warnings("unknown", {"faces": md5}) == []


def test_a_remote_that_cannot_be_asked_is_named(clone: Path) -> None:
    run("dvc", "remote", "add", "-q", "-d", "backup", "ssh://127.0.0.1/somewhere", folder=clone)
    (warning,) = backup_warnings("unknown", DATA)
    assert warning.startswith("The default DVC remote could not be asked whether it has the data and the model: ")
