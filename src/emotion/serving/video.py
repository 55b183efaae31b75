"""Frames of a video file."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotion.data.preparation.images import MAX_PIXELS, RGBImage, UnreadableImageError

SUFFIXES = {
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv",
}  # fmt: skip


def read_frames(path: Path, interval: float) -> Iterator[tuple[float, RGBImage]]:
    """Yield the first frame, and then a frame per interval (in seconds).

    Yields:
        The time of the frame in seconds, and its pixels.

    Raises:
        UnreadableImageError: if the video cannot be read to its end.
    """
    import av

    try:
        with av.open(str(path), metadata_errors="replace") as video:
            if not video.streams.video:
                raise UnreadableImageError("the file has no video stream")
            next_time, count = 0.0, 0
            for frame in video.decode(video=0):
                count += 1
                if frame.width * frame.height > MAX_PIXELS:
                    raise UnreadableImageError(f"{frame.width}x{frame.height}, more than {MAX_PIXELS:,} pixels")
                seconds = float(frame.time or 0.0)
                if seconds >= next_time:
                    next_time = seconds + interval
                    upright = np.rot90(np.asarray(frame.to_image()), round(frame.rotation / 90))
                    yield seconds, np.ascontiguousarray(upright)
            if not count:
                raise UnreadableImageError("no frame can be decoded")
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError("No such file or directory") from None
    except Exception as error:  # noqa: BLE001  FFmpeg's wrapper raises many kinds for broken input
        raise UnreadableImageError(f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}") from None
