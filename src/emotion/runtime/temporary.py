"""One folder for the temporary files of a process and its libraries, which is removed even if the process is killed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from emotion.runtime.processes import has_exited, process_id

PREFIX, OWNER = "emotion-", "process"


@contextmanager
def temporary_files() -> Iterator[None]:
    """Keep all temporary files in a folder that is removed at the end, or by a later process.

    Child processes use the same folder. If it cannot be created, nothing changes: whatever needs it says so.
    """
    _remove_abandoned()
    environment = os.environ.get("TMPDIR")
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        (Path(folder) / OWNER).write_text(process_id())
    except OSError:
        yield
        return
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = None
        if environment is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = environment
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Remove the folders of this user's processes that were killed."""
    with suppress(OSError):
        for owner in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{OWNER}"):
            with suppress(OSError, ValueError):
                is_ours = owner.is_file() and not owner.is_symlink() and owner.stat().st_uid == os.getuid()
                if is_ours and has_exited(owner.read_text()):
                    shutil.rmtree(owner.parent, ignore_errors=True)
