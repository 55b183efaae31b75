"""The pictures that a command line names."""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from emotion.data.preparation.images import Picture, UnreadableImageError, decode_picture
from emotion.runtime.errors import UserError
from emotion.serving import video

STANDARD_INPUT = "-"
LARGEST = 500 * 2**20  # bytes of a picture's file
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}  # looked for in folders


@dataclass(frozen=True)
class Input:
    """A picture, or why there is none."""

    name: str
    picture: Picture | None = None
    error: str = ""


def files(names: Iterable[str]) -> list[str]:
    """What files, folders and patterns mean, each once, in order; what means nothing stays, to be told later.

    Raises:
        UserError: where none of them means anything.
    """
    found: dict[str, None] = {}
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT or _is_file(name):
            listed = [name]
        elif os.path.isdir(name):  # noqa: PTH112  as below
            known = SUFFIXES | video.SUFFIXES
            listed = sorted(str(it) for it in path.rglob("*") if it.is_file() and it.suffix.lower() in known)
        else:
            matches = glob.glob(name, recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
            listed = sorted(it for it in matches if Path(it).is_file())
        found |= dict.fromkeys(listed or [name])
    if not any(name == STANDARD_INPUT or _is_file(name) for name in found):
        raise UserError(f"no picture or video at {', '.join(found)}.")
    return list(found)


def _is_file(name: str) -> bool:
    return os.path.isfile(name)  # noqa: PTH113  Path.is_file raises where a name is too long


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
                    yield Input(f"{name} at {seconds:.3f} s", picture)
            else:
                with nullcontext(sys.stdin.buffer) if name == STANDARD_INPUT else Path(name).open("rb") as file:
                    content = file.read(LARGEST + 1)
                if len(content) > LARGEST:
                    raise UnreadableImageError(f"more than {LARGEST // 2**20} MiB")
                yield Input("standard input" if name == STANDARD_INPUT else name, decode_picture(content))
        except UnreadableImageError as reason:
            yield Input(name, error=str(reason))
        except IsADirectoryError:
            yield Input(name, error="no picture or video in it")
        except OSError as error:
            yield Input(name, error=error.strerror or str(error))
