"""One folder for the temporary files of a process and its libraries, which is removed even if the process is killed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from pathlib import Path

from emotion.runtime.processes import has_exited, process_id

PREFIX, OWNER = "emotion-", "process"
MAX_LENGTH = 58  # of the path: multiprocessing appends the names of sockets, whose paths have at most 107 characters


@contextmanager
def temporary_files() -> Iterator[None]:
    """Keep all temporary files in a folder that is removed at the end, or by a later process.

    Child processes use the same folder. If it cannot be created, nothing changes: whatever needs it says so.
    """
    environment = os.environ.get("TMPDIR")
    try:
        parent = Path(tempfile.gettempdir())
        is_own = parent.name.startswith(PREFIX)  # of the process that started this one
        folder = "" if is_own or len(str(parent)) > MAX_LENGTH else tempfile.mkdtemp(prefix=PREFIX)
        if folder:
            (Path(folder) / OWNER).write_text(process_id())
            _remove_abandoned(parent)
    except OSError:
        folder = ""
    if not folder:
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
        if list(Path(folder).glob("pymp-*")):
            # multiprocessing removes its folder when Python exits, and fails if it is gone. It does so before this.
            Finalize(None, shutil.rmtree, [folder], {"ignore_errors": True}, exitpriority=-200)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of this user's processes that were killed."""
    for owner in parent.glob(f"{PREFIX}*/{OWNER}"):
        with suppress(OSError, ValueError):
            is_ours = owner.is_file() and not owner.is_symlink() and owner.stat().st_uid == os.getuid()
            if is_ours and has_exited(owner.read_text()):
                shutil.rmtree(owner.parent, ignore_errors=True)
    for folder in parent.glob(f"{PREFIX}????????"):
        # Killed before it had an owner. A process that is just starting can do without its folder.
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                folder.rmdir()  # only if it is empty
