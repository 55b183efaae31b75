"""Arguments that name something other than the expected file."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from support.faults import Place, cases

COMMANDS = {
    "predict": ("predict", "{}", "--no-detect"),
    "predict beside a good file": ("predict", "data/face.png", "{}", "--no-detect"),
    "predict a pattern": ("predict", "{}/**", "--no-detect"),
    "predict --model": ("predict", "data/face.png", "--no-detect", "--model", "{}"),
    "predict --annotate": ("predict", "data/face.png", "--no-detect", "--annotate", "{}"),
    "export": ("export", "{}", "--format", "litert"),
    "export --model": ("export", "data/model.tflite", "--format", "litert", "--model", "{}"),
    "space": ("space", "{}"),
    "space --model": ("space", "data/space", "--model", "{}"),
    "demo --model": ("demo", "--model", "{}", "--port", "1"),
    "compare": ("compare", "{}", "trial-000"),
    "trace": ("trace", "{}"),
    "promote": ("promote", "{}"),
}


def make_links(path: Path) -> None:
    """A folder with two links to itself."""
    path.mkdir()
    for name in ("one", "two"):
        (path / name).symlink_to(".")


def make_many_files(path: Path) -> None:
    """A folder with 10,000 empty files."""
    path.mkdir()
    for number in range(10_000):
        (path / f"{number}.txt").touch()


def make_device(path: Path) -> None:
    """A device of its own like /dev/zero, which a command run by root could replace."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("making a device needs the rights of root")


MAKERS: dict[str, tuple[str, Callable[[Path], object]]] = {  # the argument, and what makes the file
    "missing": ("data/argument", lambda path: None),
    "a FIFO": ("data/argument", os.mkfifo),
    "a loop of links": ("data/argument", make_links),
    "a link to itself": ("data/argument", lambda path: path.symlink_to(path)),
    "a device": ("data/argument", make_device),
    "a folder": ("data/argument", Path.mkdir),
    "an empty file": ("data/argument", Path.touch),
    "a name that is not UTF-8": (os.fsdecode(b"data/\xff.png"), Path.touch),
    "a leading dash": ("-x.png", Path.touch),
    "control characters": ("data/a\x1b[31m\x07\n.png", Path.touch),
    "10,000 entries": ("data/argument", make_many_files),
    "a read-only folder": ("data/argument", lambda path: path.mkdir(mode=0o500)),
    "an empty name": ("", lambda path: None),
    "a long name": ("x" * 300, lambda path: None),
}


def is_char_device(path: Path) -> bool:
    """Whether there is a device, also for a name that is too long to exist."""
    try:
        return path.is_char_device()
    except OSError:
        return False


@pytest.mark.parametrize(("name", "kind"), cases("paths", tuple(COMMANDS), tuple(MAKERS)))
def test_an_unexpected_path_is_reported_and_nothing_outside_is_written(name: str, kind: str, place: Place) -> None:
    place.add_face("data/face.png")
    argument, make = MAKERS[kind]
    make(place.project.folder / argument)
    before = place.state
    is_device = is_char_device(place.project.folder / argument)
    place.attempt("emotion", *(part.format(argument) for part in COMMANDS[name]), seconds=120)
    assert place.state == before
    assert is_char_device(place.project.folder / argument) == is_device
    place.assert_tidy()
