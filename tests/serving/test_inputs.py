"""Files, folders and patterns as inputs."""

import os
from pathlib import Path

import pytest

from emotion.runtime.errors import UserError
from emotion.serving.inputs import expand_paths, read_inputs


def test_a_pipe_or_device_is_named_and_not_read(album: Path) -> None:
    os.mkfifo(album / "pipe.jpg")
    files = expand_paths([str(album / "astronaut.jpg"), str(album / "pipe.jpg"), "/dev/zero"])
    read = {it.name: it.error for it in read_inputs(files.places.items(), 1.0)}
    reason = "not a regular file, but a pipe, a socket or a device"
    assert read == {str(album / "astronaut.jpg"): "", str(album / "pipe.jpg"): reason, "/dev/zero": reason}
    assert str(album / "pipe.jpg") in expand_paths([str(album)]).places


@pytest.mark.parametrize("pattern", ["", "/**", "/**/*.jpg"])
def test_loops_of_symbolic_links_are_not_followed(album: Path, pattern: str) -> None:
    for name in ("first", "second"):
        (album / name).symlink_to(".")
    found = list(expand_paths([f"{album}{pattern}"]).places)
    assert str(album / "astronaut.jpg") in found
    assert not [name for name in found if "first" in name or "second" in name]


def test_a_pattern_at_the_end_matches_files_in_all_folders(album: Path) -> None:
    assert str(album / "more/two.png") in expand_paths([f"{album}/**"]).places
    assert expand_paths([f"{album}/*/*.p?g"]).places == {str(album / "more/two.png"): Path("more/two.png")}


def test_patterns_are_relative_to_the_current_folder(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    assert list(expand_paths(["*.jpg", "more/*"]).places) == ["astronaut.jpg", "text.jpg", "more/two.png"]


def test_an_invalid_pattern_gives_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no image or video found|cannot be used"):
        expand_paths([f"{tmp_path}/**.jpg"])
