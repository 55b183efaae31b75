"""Pictures out of a video file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotion.pictures import Picture, UnreadableImageError

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}


def frames(path: Path, every: float) -> Iterator[tuple[float, Picture]]:
    """A frame per so many seconds, from the first on.

    Yields:
        Its time in seconds, and its pixels.

    Raises:
        UnreadableImageError: where it cannot be read, or not to its end.
    """
    import av

    try:
        with av.open(str(path)) as video:
            if not video.streams.video:
                raise UnreadableImageError("no pictures in it")
            following = 0.0
            for frame in video.decode(video=0):
                seconds = float(frame.time or 0.0)
                if seconds >= following:
                    following = seconds + every
                    upright = np.rot90(np.asarray(frame.to_image()), round(frame.rotation / 90))
                    yield seconds, np.ascontiguousarray(upright)
    except (av.FFmpegError, OSError) as error:
        raise UnreadableImageError(f"{type(error).__name__}: {error.strerror or error}") from None
