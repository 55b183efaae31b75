"""`emotion reproduce`: training a version again."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotion.cli.main import app
from emotion.registry.reproduce import restore_data, share_dvc_cache, worktree
from emotion.runtime.errors import UserError
from support.project import MODEL, Project
from support.stores import connected_to
from support.warm_python import PROGRAMS


@pytest.fixture
def project(copied_project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """The project of this process, whose commands start warm."""
    monkeypatch.chdir(copied_project.folder)
    monkeypatch.setattr(sys, "executable", f"{os.environ[PROGRAMS]}/python")
    with connected_to(copied_project.folder, monkeypatch):
        yield copied_project


def test_a_version_is_reproduced_from_its_commit_patch_and_data(project: Project) -> None:
    source = project.folder / "src/emotion/training/trainer.py"
    source.write_text(source.read_text() + "\n# not committed\n")
    project.set_params(tune__max_trials=0, train__epochs=1, train__seed=5)
    project.run("dvc", "repro")
    project.run("git", "checkout", "--quiet", "src", "params.yaml")
    done = CliRunner().invoke(app, ["reproduce", "1"], catch_exceptions=False)
    assert "The data came from DVC's cache." in done.stdout
    assert re.search(r"Equal: all \d\d+ metrics match the recorded ones\.", done.stdout), done.stdout
    tag = project.client.get_model_version(MODEL, "1").tags["reproduced"]
    assert tag.endswith(": equal metrics")
    assert len(project.run("git", "worktree", "list").stdout.splitlines()) == 1
    assert len(project.client.search_runs(["1"], "tags.stage = 'train'")) == 1  # none of the reproduction
    missing = project.run("emotion", "reproduce", "9", check=False)
    assert missing.stderr.startswith(f"emotion: {MODEL} has no version 9. Its versions: 1. ")


def test_uncached_data_is_fetched_from_its_source_and_verified(project: Project, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "--local", "--default", "storage", str(tmp_path / "remote"))
    project.run("dvc", "push", "fetch")
    sha256 = json.loads((project.folder / "data/raw/source.json").read_text())["sha256"]
    shutil.rmtree(project.folder / ".dvc/cache")
    commit = project.run("git", "rev-parse", "HEAD").stdout.strip()
    with worktree(commit) as tree:
        shutil.copy(project.folder / "dvc.lock", tree)
        share_dvc_cache(tree)
        assert restore_data(tree, "fetch", sha256) == "a DVC remote"
    shutil.rmtree(tmp_path / "remote")
    shutil.rmtree(project.folder / ".dvc/cache")
    with worktree(commit) as tree:
        shutil.copy(project.folder / "dvc.lock", tree)
        share_dvc_cache(tree)
        assert restore_data(tree, "fetch", sha256) == "the original source"
        with pytest.raises(UserError, match="has a different archive: its SHA-256 is"):
            restore_data(tree, "fetch", "0" * 64)
    assert not tree.exists()
    with pytest.raises(UserError, match="is not in this repository"), worktree("f" * 40):
        pass
