"""Processes that change the champion and can be killed between any two writes."""

import os
import subprocess
import sys
from pathlib import Path

from support.project import ROOT
from support.versions import NAME

# Reads "VERSION KILL_AT START" from the standard input, a line at a time. For each, a fork of this process, which has
# MLflow loaded, makes the version champion once the file START exists, and kills itself before its write number
# KILL_AT. Its exit code and the number of its writes are printed.
PROGRAM = """
import os, signal, sys, time
import mlflow.store.model_registry.sqlalchemy_store
import mlflow.store.tracking.sqlalchemy_store
from pathlib import Path
from mlflow import MlflowClient
from emotion.registry.promotion.history import Entry
from emotion.registry.promotion.ledger import read_entries
from emotion.registry.promotion.reconcile import ConflictError, append_entry

name = sys.argv[1]
WRITES = (
    "log_param", "set_model_version_tag", "set_registered_model_tag", "set_registered_model_alias",
    "delete_registered_model_alias",
)

def change(version, kill_at, start, report):
    done = 0

    def kill_before(write):
        def call(*arguments, **options):
            nonlocal done
            done += 1
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments, **options)
        return call

    entries = read_entries(name)
    for write in WRITES:
        setattr(MlflowClient, write, kill_before(getattr(MlflowClient, write)))
    Path(f"{start}-{os.getpid()}").touch()
    while not Path(start).exists():
        time.sleep(0.001)
    entry = Entry(action="promote", version=version, before="1", verdict="PROMOTED", run_id="a run")
    try:
        append_entry(name, entries, entry, None)
    except ConflictError:
        return 5
    os.write(report, str(done).encode())
    return 0

for line in sys.stdin:
    version, kill_at, start = line.split()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            code = change(version, int(kill_at), start, writer)
        finally:
            os._exit(code)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), os.read(reader, 9).decode() or "0", flush=True)
    os.close(reader)
"""


class Changer:
    """A process that changes the champion on request."""

    def __init__(self, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, NAME], env=os.environ | {"PYTHONPATH": str(ROOT / "src")} | environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def begin(self, version: str, start: Path, kill_at: int = 0) -> None:
        """Make a version champion once `start` exists. Kill it before write `kill_at`, if not 0."""
        assert self.process.stdin
        print(version, kill_at, start, file=self.process.stdin, flush=True)

    def result(self) -> tuple[int, int]:
        """The exit code of the change, and the number of its writes."""
        assert self.process.stdout
        assert self.process.stderr
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        code, writes = map(int, line.split())
        return code, writes

    def close(self) -> str:
        """Stop the process and return its standard error."""
        _, error = self.process.communicate(timeout=60)
        return error
