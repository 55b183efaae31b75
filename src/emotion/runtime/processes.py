"""Which process is at something, so that others can tell later whether it still lives."""

import getpass
import os
import socket
from functools import cache
from pathlib import Path


def user() -> str:
    """The system's name of who runs this; the number where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


@cache
def this() -> str:
    """Machine, boot, number and start of this process; no two processes have the same."""
    return f"{_machine()} {_boot()} {os.getpid()} {_started(os.getpid())}"


def is_gone(process: str) -> bool:
    """Whether a process of this machine has ended. Of another machine's nothing can be said: False.

    Args:
        process: what `this` said there.
    """
    machine, *rest = process.split(" ")
    if machine != _machine() or len(rest) != 3:
        return False
    boot, number, started = rest
    return boot != _boot() or _started(int(number)) != started


def _machine() -> str:
    """Its name, and the numbering of processes, of which a container has its own."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "unknown"


def _started(process: int) -> str:
    """When, in the system's ticks; empty where there is no such process, or it is dead and not yet buried."""
    try:
        # After the name, which is in parentheses and may hold anything.
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
