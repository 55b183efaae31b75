"""Atomic writes and file digests."""

from pathlib import Path

import pytest

from emotion.runtime.files import atomic_write, file_digests, folder_digest, folder_size


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "metrics.json") as tmp:
        tmp.write_text("half") and tmp.with_name("missing").read_text()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"metrics.json": "old"}


def test_a_folder_replaces_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/old").touch()
    with atomic_write(tmp_path / "model") as tmp:
        tmp.mkdir()
        (tmp / "new").write_text("content")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]
    assert folder_size(tmp_path / "model") == 7


def test_a_folders_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    for name, files in {"a": {"x": "1"}, "b": {"y": "1"}, "c": {"x": "2"}, "d": {"x": "1"}}.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_text(content)
    assert len({folder_digest(tmp_path / name) for name in "abc"}) == 3
    assert folder_digest(tmp_path / "a") == folder_digest(tmp_path / "d")
    assert list(file_digests(tmp_path)) == ["a/x", "b/y", "c/x", "d/x"]
