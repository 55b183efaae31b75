"""What a tracking server did not take yet, on disk, in its order: an operation a file.

A file is written whole and removed once its operation is done, so that whatever is killed, each
operation is there until it was done. Doing one twice must be harmless.
"""

import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion.runtime.paths import whole

DIGITS = 8  # of an operation's number
Operation = dict[str, Any]


@dataclass(frozen=True)
class Journal:
    """One folder of operations, `<number>-<run>.json`, some with a file or folder beside them."""

    folder: Path

    def append(self, run_id: str, operation: Mapping[str, Any], source: Path | None = None) -> None:
        """Keep an operation on a run, and a copy of the file or folder that it is about."""
        with self._locked("append"):
            numbers = [int(path.name[:DIGITS]) for path in self._all()]
            path = self.folder / f"{max(numbers, default=0) + 1:0{DIGITS}d}-{run_id}.json"
            if source is not None:
                with whole(_files(path)) as part:
                    part.mkdir()
                    copy = shutil.copytree if source.is_dir() else shutil.copy2
                    copy(source, part / source.name)
            with whole(path) as part:
                part.write_text(json.dumps({**operation, "run_id": run_id, "source": source and source.name}))

    def waits_for(self, run_id: str | None = None) -> bool:
        """Whether there is an operation on a run, or on any."""
        return bool(self._all(run_id or "*"))

    def _all(self, run_id: str = "*") -> list[Path]:
        """In their order; not what is just being written."""
        return sorted(self.folder.glob(f"{'[0-9]' * DIGITS}-{run_id}.json"))

    def __len__(self) -> int:
        """How many operations there are."""
        return len(self._all())

    def deliver(self, perform: Callable[[Operation, Path | None], None], go_on: Callable[[], bool]) -> int:
        """Do all operations in their order, each until it succeeded once.

        Args:
            perform: does one, given the file or folder that it is about.
            go_on: asked before each, and while another process delivers.

        Returns:
            How many were done.
        """
        done = 0
        if not self.waits_for():
            return done
        with self._locked("deliver", go_on) as is_mine:
            while is_mine and (waiting := self._all()) and go_on():
                perform(*self._read(waiting[0]))
                self._remove(waiting[0])
                done += 1
        return done

    def drop_first(self) -> Operation | None:
        """Remove the operation that is next, and say which it was."""
        with self._locked("deliver"):
            waiting = self._all()
            if not waiting:
                return None
            operation, _ = self._read(waiting[0])
            self._remove(waiting[0])
            return operation

    def _read(self, path: Path) -> tuple[Operation, Path | None]:
        operation = json.loads(path.read_text())
        return operation, _files(path) / operation["source"] if operation["source"] else None

    def _remove(self, path: Path) -> None:
        with self._locked("append"):  # whose next number may be this one
            path.unlink()
            shutil.rmtree(_files(path), ignore_errors=True)

    @contextmanager
    def _locked(self, what: str, go_on: Callable[[], bool] = lambda: True) -> Iterator[bool]:
        """Alone with a lock; yields False where it was not had as long as it was to be waited for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{what}.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if not go_on():
                        yield False
                        return
                    time.sleep(0.01)
                else:
                    yield True
                    return


def _files(path: Path) -> Path:
    return path.with_suffix("")
