"""The pictures that a command line names."""

import glob
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from emotion.errors import UserError
from emotion.pictures import Picture, UnreadableImageError, decode_picture
from emotion.serving import video

STANDARD_INPUT = "-"
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}  # looked for in folders


@dataclass(frozen=True)
class Input:
    """A picture, or why there is none."""

    name: str
    picture: Picture | None = None
    error: str = ""


def files(names: Iterable[str]) -> list[str]:
    """What files, folders and patterns mean, each once, in order.

    Raises:
        UserError: where one of them means nothing.
    """
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT or path.is_file():
            listed = [name]
        elif path.is_dir():
            known = SUFFIXES | video.SUFFIXES
            listed = sorted(str(it) for it in path.rglob("*") if it.is_file() and it.suffix.lower() in known)
        else:
            matches = glob.glob(name, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
            listed = sorted(it for it in matches if Path(it).is_file())
        if not listed:
            raise UserError(f"no picture or video at {name}.")
        found |= dict.fromkeys(listed)
    return list(found)


def read(names: Iterable[str], every: float) -> Iterator[Input]:
    """Each file's picture, or a video's; what cannot be read is told and the rest goes on.

    Args:
        names: from `files`.
        every: seconds between the frames of a video.
    """
    for name in names:
        try:
            if Path(name).suffix.lower() in video.SUFFIXES:
                for seconds, picture in video.frames(Path(name), every):
                    yield Input(f"{name} at {seconds:.1f} s", picture)
            else:
                content = sys.stdin.buffer.read() if name == STANDARD_INPUT else Path(name).read_bytes()
                yield Input("standard input" if name == STANDARD_INPUT else name, decode_picture(content))
        except (UnreadableImageError, OSError) as error:
            yield Input(name, error=error.strerror or str(error) if isinstance(error, OSError) else str(error))
