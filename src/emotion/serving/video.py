"""Pictures out of a video file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotion.data.preparation.images import MAX_PIXELS, Picture, UnreadableImageError

SUFFIXES = {
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv",
}  # fmt: skip


def frames(path: Path, every: float) -> Iterator[tuple[float, Picture]]:
    """A frame per so many seconds, from the first on.

    Yields:
        Its time in seconds, and its pixels.

    Raises:
        UnreadableImageError: where it cannot be read, or not to its end.
    """
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as video:
            if not video.streams.video:
                raise UnreadableImageError("no pictures in it")
            following, count = 0.0, 0
            for frame in video.decode(video=0):
                count += 1
                if frame.width * frame.height > MAX_PIXELS:
                    raise UnreadableImageError(f"{frame.width}x{frame.height}, more than {MAX_PIXELS:,} pixels")
                seconds = float(frame.time or 0.0)
                if seconds >= following:
                    following = seconds + every
                    upright = np.rot90(np.asarray(frame.to_image()), round(frame.rotation / 90))
                    yield seconds, np.ascontiguousarray(upright)
            if not count:
                raise UnreadableImageError("no frame of it can be decoded")
    except UnreadableImageError:
        raise
    except Exception as error:  # noqa: BLE001  FFmpeg's wrapper raises many kinds for broken input
        raise UnreadableImageError(f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}") from None
