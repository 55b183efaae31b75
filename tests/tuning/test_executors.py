"""The process of a trial on this machine."""

import multiprocessing.forkserver
import time
from pathlib import Path

import psutil
import pytest

from emotion.tuning.executors import LocalExecutor
from support.search import params_with, short_request


def fork_servers() -> list[psutil.Process]:
    """The running fork servers of this process."""
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "multiprocessing.forkserver" in " ".join(child.cmdline())]


def test_an_interrupt_while_a_trial_starts_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> int:
        raise KeyboardInterrupt

    executor = LocalExecutor(tmp_path)
    assert fork_servers()
    monkeypatch.setattr(multiprocessing.forkserver, "read_signed", interrupt)  # called while the trial starts
    with pytest.raises(KeyboardInterrupt):
        executor.start("trial-000", short_request(params_with()))
    executor.close()
    deadline = time.monotonic() + 10
    while fork_servers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not fork_servers()
