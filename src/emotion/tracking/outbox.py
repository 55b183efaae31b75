"""An on-disk queue of operations that have not reached the tracking server yet, with one file per operation.

Each file is written atomically and removed after its operation succeeds, so no operation is lost if a process is
killed. An operation may be applied twice, so applying it must be idempotent.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from emotion.runtime.errors import UserError
from emotion.runtime.files import atomic_write, read_json

DIGITS = 8  # of an operation's number
DAMAGED = ".damaged"  # suffix of operations that cannot be read
Content = dict[str, Any]  # of an operation, as JSON


class DamagedOperationError(UserError):
    """A queued operation cannot be read."""


@dataclass(frozen=True)
class Outbox:
    """A folder of operations, `<number>-<run>.json`, some with an attached file or folder."""

    folder: Path

    def append(self, run_id: str, operation: Mapping[str, Any], source: Path | None = None) -> None:
        """Queue an operation on a run, with a copy of the file or folder that it needs."""
        with self._lock("append"):
            numbers = [int(path.name[:DIGITS]) for path in self._pending()]
            path = self.folder / f"{max(numbers, default=0) + 1:0{DIGITS}d}-{run_id}.json"
            if source is not None:
                with atomic_write(_attachment(path)) as tmp:
                    tmp.mkdir()
                    copy = shutil.copytree if source.is_dir() else shutil.copy2
                    copy(source, tmp / source.name)
            with atomic_write(path) as tmp:
                tmp.write_text(json.dumps({**operation, "run_id": run_id, "source": source and source.name}))

    def has_pending(self, run_id: str | None = None) -> bool:
        """Whether an operation on a run, or on any run, is queued."""
        return bool(self._pending(run_id or "*"))

    def _pending(self, run_id: str = "*") -> list[Path]:
        """The queued operations in order, without files that are still being written."""
        return sorted(self.folder.glob(f"{'[0-9]' * DIGITS}-{run_id}.json"))

    def __len__(self) -> int:
        """The number of queued operations."""
        return len(self._pending())

    def flush(self, apply: Callable[[Content, Path | None], None], should_continue: Callable[[], bool]) -> int:
        """Apply all operations in order, and remove each after it succeeds.

        An operation that cannot be read is renamed to *.damaged and reported; the others are delivered.

        Args:
            apply: applies one operation, given its content and its file or folder.
            should_continue: returns whether to go on; called before each operation and while another process flushes.

        Returns:
            How many were applied.
        """
        applied = 0
        if not self.has_pending():
            return applied
        with self._lock("flush", should_continue) as acquired:
            while acquired and (pending := self._pending()) and should_continue():
                try:
                    apply(*_read(pending[0]))
                except DamagedOperationError as error:
                    damaged = pending[0].replace(pending[0].with_suffix(DAMAGED))
                    print(f"{error} It was not delivered, and was renamed to {damaged}.", file=sys.stderr, flush=True)
                    continue
                self._remove(pending[0])
                applied += 1
        return applied

    def drop_first(self) -> Content | None:
        """Remove the next operation, and return what is legible of it."""
        with self._lock("flush"):
            pending = self._pending()
            if not pending:
                return None
            try:
                content, _ = _read(pending[0])
            except DamagedOperationError:
                content = {}
            self._remove(pending[0])
            return content

    def _remove(self, path: Path) -> None:
        with self._lock("append"):  # else `append` could reuse this number
            path.unlink()
            shutil.rmtree(_attachment(path), ignore_errors=True)

    @contextmanager
    def _lock(self, name: str, should_continue: Callable[[], bool] = lambda: True) -> Iterator[bool]:
        """Hold a lock; yield False if `should_continue` returned False before it was acquired."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f"{name}.lock", timeout=0)
        while True:
            try:
                lock.acquire()
            except Timeout:
                if not should_continue():
                    yield False
                    return
                time.sleep(0.01)
            else:
                break
        try:
            yield True
        finally:
            lock.release()


def _attachment(path: Path) -> Path:
    return path.with_suffix("")


def _read(path: Path) -> tuple[Content, Path | None]:
    """The content of an operation, and its file or folder."""
    try:
        content = read_json(path, "Its operation is lost.")
    except UserError as error:
        raise DamagedOperationError(str(error)) from None
    source = content.get("source")
    if not source:
        return content, None
    if not (isinstance(source, str) and source == Path(source).name and (_attachment(path) / source).exists()):
        raise DamagedOperationError(f"{path} is damaged: its attached file is missing.")
    return content, _attachment(path) / source
