"""An identifier for this process, so that others can tell later whether it is still running."""

import getpass
import os
import socket
from pathlib import Path

import psutil

CLOCK_TOLERANCE = 2.0  # seconds; psutil derives start times from the system's clock, which may be adjusted


def login_name() -> str:
    """The name of the user who runs this process; the numeric id if there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def process_id() -> str:
    """Machine, process number and start time: no two processes share all three."""
    this = psutil.Process()
    return f"{_machine()} {this.pid} {this.create_time():.2f}"


def has_exited(process: str) -> bool:
    """Whether a process on this machine has exited; always False for processes on other machines.

    Args:
        process: the value that `process_id()` returned in that process.
    """
    machine, *rest = process.split(" ")
    try:
        number, started = int(rest[0]), float(rest[1])
    except (IndexError, ValueError):
        return False
    if machine != _machine():
        return False
    try:
        found = psutil.Process(number)
        return bool(found.status() == psutil.STATUS_ZOMBIE or abs(found.create_time() - started) > CLOCK_TOLERANCE)
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return True


def _machine() -> str:
    """The host name with the PID namespace: every container numbers its own processes."""
    try:
        return f"{socket.gethostname()}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()
