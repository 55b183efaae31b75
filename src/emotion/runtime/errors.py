"""What a person can put right themselves, told in one message and never as a traceback."""

import errno
import signal
import sys
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130  # the shell's exit code for Ctrl-C
at_the_end: list[Callable[[], None]] = []  # what `exit_cleanly` does last, however `main` ends


class UserError(Exception):
    """Says what happened, what was expected, what was received, and what to do next."""


def explain(error: OSError) -> str:
    """Turn an operating-system error into what happened and what to do next."""
    where = error.filename or "a file"
    known = {
        errno.ENOSPC: f"the disk is full while writing {where}. Free some space and run again.",
        errno.EDQUOT: f"your disk quota is used up at {where}. Free some space and run again.",
        errno.EACCES: f"no permission for {where}. Make it readable and writable for you.",
        errno.EPERM: f"no permission for {where}. Make it readable and writable for you.",
        errno.EROFS: f"{where} is on a read-only file system. Work in a folder you can write to.",
        errno.ENOENT: f"{where} does not exist. `dvc repro` makes what an earlier stage writes.",
    }
    return known.get(error.errno or 0, f"{error.strerror or error} ({where}).")


def exit_cleanly(name: str, main: Callable[[], None]) -> None:
    """Run `main`; end in one line and a non-zero exit on a user's mistake or Ctrl-C.

    Errors of our own making keep their traceback. TERM is treated like Ctrl-C, so that open
    runs are closed and temporary files removed.
    """

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        try:
            main()
        finally:
            for close in at_the_end:
                close()
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        kept = "finished stages, trials and epochs are kept"
        print(f"{name}: interrupted; {kept}. `dvc repro` goes on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        sys.exit(f"{name}: {explain(error)}")
