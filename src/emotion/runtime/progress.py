"""Progress of long work: a bar in a terminal, plain lines in a log."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.progress import track as progress_bar

from emotion.runtime.files import folder_size

SECONDS_BETWEEN_LINES = 10.0
T = TypeVar("T")


@contextmanager
def log_folder_size(folder: Path, description: str) -> Iterator[None]:
    """Print the size of a folder at intervals while something else fills it."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            print(f"{description}: {folder_size(folder) / 2**20:.0f} MiB", flush=True)

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def track(items: Iterable[T], description: str, total: int, log_lines: bool = True) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done; outside a terminal only if `log_lines`."""
    if sys.stdout.isatty():
        yield from progress_bar(items, description, total)
        return
    if not log_lines:
        yield from items
        return
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{description}: {done} of {total}", flush=True)
        yield item
    print(f"{description}: {total} done", flush=True)
