"""The images and videos given on the command line."""

import glob
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from emotion.data.preparation.images import RGBImage, UnreadableImageError, load_image
from emotion.runtime.errors import UserError
from emotion.serving import video

STANDARD_INPUT = "-"
MAX_BYTES = 500 * 2**20  # of an image file
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}  # searched for in folders


@dataclass(frozen=True)
class Input:
    """An image, or the reason why it could not be read."""

    name: str
    place: Path  # below a folder for output
    image: RGBImage | None = None
    error: str = ""


@dataclass(frozen=True)
class Files:
    """The files that arguments name."""

    places: dict[str, Path]  # by name: where the file is below the folder that was given
    skipped: int  # how many others the folders contain

    def folders_with(self, output: Path) -> str:
        """A file that would be in a folder for output, or be overwritten there; empty if there is none."""
        output = output.resolve()
        return next((name for name in self.places if output in Path(name).resolve().parents), "")


def expand_paths(names: Iterable[str]) -> Files:
    """Expand files, folders and patterns to files, in order and without duplicates.

    Neither folders nor `**` follow symbolic links to folders, which may form loops. A name that matches no file is
    kept, so that it is reported later; so is a pipe, a socket or a device.

    Raises:
        UserError: if no name matches a file.
    """
    found: dict[str, Path] = {}
    skipped = 0
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT or _is_file(name):
            files = [path]
        elif os.path.isdir(name):  # noqa: PTH112  see _is_file
            inside = sorted(it for it in path.rglob("*") if not it.is_dir())
            files = [it for it in inside if it.suffix.lower() in SUFFIXES | video.SUFFIXES]
            skipped += len(inside) - len(files)
        else:
            files = _matches(name)
        base = path if os.path.isdir(name) else _folder_of(path)  # noqa: PTH112  see _is_file
        found |= {str(file): file.relative_to(base) for file in files} or {name: Path(path.name)}
    if not any(name == STANDARD_INPUT or _is_file(name) for name in found):
        raise UserError(f"no image or video found at {', '.join(found)}. Check the names.")
    return Files(found, skipped)


def _folder_of(pattern: Path) -> Path:
    """The folder of a file, or the deepest folder that a pattern names."""
    folder = pattern.parent
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _matches(pattern: str) -> list[Path]:
    """The files that match a pattern. `**` stands for any number of folders; at the end also for the files in them."""
    if not glob.has_magic(pattern):
        return []
    path = Path(pattern)
    parts = path.relative_to(path.anchor) if path.anchor else path
    if parts.name == "**":
        parts = parts / "*"
    try:
        return sorted(it for it in Path(path.anchor).glob(str(parts)) if not it.is_dir())
    except (OSError, ValueError) as error:
        raise UserError(f"the pattern {pattern} cannot be used: {error}. Give the names of files or folders.") from None


def _is_file(name: str) -> bool:
    return os.path.isfile(name)  # noqa: PTH113  Path.is_file raises if a name is too long


def _is_special(name: str) -> bool:
    """Whether a name is a pipe, a socket or a device: reading one may never end."""
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116  see _is_file
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def read_inputs(files: Iterable[tuple[str, Path]], frame_interval: float) -> Iterator[Input]:
    """Yield each file's image, or a video's frames; errors are reported as inputs without an image.

    Args:
        files: the items of `Files.places`.
        frame_interval: seconds between the frames of a video.
    """
    for name, place in files:
        shown = "standard input" if name == STANDARD_INPUT else name
        try:
            if name != STANDARD_INPUT and _is_special(name):
                yield Input(name, place, error="not a regular file, but a pipe, a socket or a device")
            elif Path(name).suffix.lower() in video.SUFFIXES:
                for seconds, frame in video.read_frames(Path(name), frame_interval):
                    moment = f" at {seconds:.3f} s"
                    yield Input(name + moment, place.with_name(f"{place.name}{moment}.png"), frame)
            else:
                with nullcontext(sys.stdin.buffer) if name == STANDARD_INPUT else Path(name).open("rb") as file:
                    content = file.read(MAX_BYTES + 1)
                if len(content) > MAX_BYTES:
                    raise UnreadableImageError(f"the file is larger than {MAX_BYTES // 2**20} MiB")
                yield Input(shown, place, load_image(content))
        except UnreadableImageError as reason:
            yield Input(shown, place, error=str(reason))
        except IsADirectoryError:
            yield Input(name, place, error="the folder contains no images or videos")
        except OSError as error:
            yield Input(shown, place, error=error.strerror or str(error))
