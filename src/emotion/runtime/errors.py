"""Errors that a user can fix: one message, no traceback, a non-zero exit code."""

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType

from emotion.runtime.text import printable

INTERRUPTED = 130  # the shell's exit code for Ctrl-C


class UserError(Exception):
    """Says what happened, what was expected, what was received, and what to do next."""


SYSTEM_ERRORS = {  # of the disk and of permissions: what happened, and what to do
    errno.ENOSPC: "the disk is full while writing {}. Free some space and run again.",
    errno.EDQUOT: "your disk quota is exceeded at {}. Free some space and run again.",
    errno.EACCES: "permission denied for {}. Make sure that you can read and write it.",
    errno.EPERM: "permission denied for {}. Make sure that you can read and write it.",
    errno.EROFS: "{} is on a read-only file system. Work in a folder you can write to.",
}


def describe_os_error(error: OSError) -> str:
    """Describe an operating-system error and what to do about it."""
    where = error.filename or "a file"
    if error.errno in SYSTEM_ERRORS:
        return SYSTEM_ERRORS[error.errno].format(where)
    if error.errno == errno.ENOENT:
        return f"{where} does not exist. If an earlier stage writes it, run `dvc repro`."
    return f"{error.strerror or error} ({where})."


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the errors that it was raised from, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def run_main(name: str, main: Callable[[ExitStack], None]) -> None:
    """Run `main`; on a `UserError` or Ctrl-C, print one line and exit with a non-zero code.

    Unexpected errors keep their traceback. SIGTERM is treated like Ctrl-C.

    Args:
        name: the name of the program, with which every message starts.
        main: receives an `ExitStack`, whose callbacks run whenever and however it ends.
    """
    from emotion.runtime.temporary import temporary_files  # imports psutil, which a Space does not need

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)
    try:
        with temporary_files(), ExitStack() as exit_callbacks:
            main(exit_callbacks)
    except UserError as error:
        sys.exit(f"{name}: {_printable_lines(error)}")
    except KeyboardInterrupt:
        message = "Finished stages, trials and epochs are saved; `dvc repro` continues from there."
        print(f"{name}: interrupted. {message}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        sys.exit(f"{name}: {_printable_lines(describe_os_error(error))}")


def _printable_lines(message: object) -> str:
    return "\n".join(printable(line) for line in str(message).split("\n"))
