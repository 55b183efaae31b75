"""Atomic writes and file digests."""

import os
from pathlib import Path

import pytest
from pydantic import BaseModel

from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write, file_digests, folder_digest, folder_size, read_csv, read_json


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("old")
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "metrics.json") as tmp:
        tmp.write_text("half") and tmp.with_name("missing").read_text()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"metrics.json": "old"}


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is not a regular file"), atomic_write(tmp_path / "pipe"):
        pass
    assert (tmp_path / "pipe").is_fifo()


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


class Schema(BaseModel):
    name: str
    scores: dict[str, float]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is not valid JSON"),
        (b"{", "it is not valid JSON"),
        (b"\xff", "it is not valid JSON"),
        (b'{"name": "a", "scores": {"loss": NaN}}', "it is not valid JSON"),
        (b"[" * 100_000, "it is not valid JSON"),
        (b"[1]", "its content: Input should be a valid dictionary"),
        (b'{"scores": {}}', "name: Field required"),
        (b'{"name": "a", "scores": {"loss": "low"}}', "scores.loss: Input should be a valid number"),
    ],
)
def test_a_damaged_json_file_gives_one_message(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(UserError, match=r"file.json is missing. Run fetch\."):
        read_json(path, "Run fetch.", Schema)
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_json(path, "Run fetch.", Schema)
    assert str(raised.value).startswith(f"{path} is damaged: {reason}")
    assert str(raised.value).endswith(". Run fetch.")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,c\n1,2\n", b'a,b\n"1,2\n', b"a,b\n1,2\n3"])
def test_a_damaged_csv_file_gives_one_message(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.csv"
    with pytest.raises(UserError, match=r"file.csv is missing. Run fetch\."):
        read_csv(path, ("a", "b"), "Run fetch.")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^[^\n]*file.csv is damaged: [^\n]*\. Run fetch\.$"):
        read_csv(path, ("a", "b"), "Run fetch.")
