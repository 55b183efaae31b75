"""Progress of long work: a bar in a terminal, plain lines in a log."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.progress import track as bar

SECONDS_BETWEEN_LINES = 10.0
T = TypeVar("T")


@contextmanager
def watch(folder: Path, description: str) -> Iterator[None]:
    """Say in a log how much a folder holds, while something else fills it."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            print(f"{description}: {size / 2**20:.0f} MiB", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def track(items: Iterable[T], description: str, total: int, lines: bool = True) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done; in a log only if `lines`."""
    if sys.stdout.isatty():
        yield from bar(items, description, total)
        return
    if not lines:
        yield from items
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{description}: {done} of {total}", flush=True)
        yield item
    print(f"{description}: {total} done", flush=True)
