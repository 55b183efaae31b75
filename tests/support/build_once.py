"""Artifacts that all test workers share."""

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def build_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """Build `folder` in the first worker that needs it."""
    with FileLock(f"{folder}.lock"):
        if not Path(f"{folder}.done").exists():
            build(folder)
            Path(f"{folder}.done").touch()
    return folder
