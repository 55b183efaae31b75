"""Commands that run in forks of a process with all libraries loaded.

Importing TensorFlow, MLflow and DVC takes most of the time of a tiny stage. `Project.run` therefore finds `python`,
`emotion` and `dvc` in a folder of programs that send their arguments to a server, which runs each command in a fork
and kills it if the program is killed.
Tests that kill or interrupt a process, or measure what it imports, start `sys.executable`, which loads everything.

    python warm_python.py serve SOCKET            # in the background
    python warm_python.py run SOCKET -m MODULE …  # what the programs do; also with the path of a script
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

PROGRAMS = "WARM_PYTHON"  # environment variable: the folder of the programs
MAX_DESCRIPTOR = 1024
LIBRARIES = (
    "dvc.cli", "dvc.repo.reproduce", "keras_tuner", "matplotlib.pyplot", "mlflow.server.fastapi_app",
    "mlflow.tensorflow", "mlflow.store.model_registry.sqlalchemy_store", "mlflow.store.tracking.sqlalchemy_store",
    "pandas", "pydantic", "rich.table", "scipy.stats", "sklearn.metrics", "typer",
)  # fmt: skip


@contextmanager
def warm_python(folder: Path) -> Iterator[Path]:
    """Start a server; yield the folder of programs that use it."""
    folder.mkdir()
    address, venv = folder / "socket", Path(sys.executable).parent
    for name, target in {"python": "", "emotion": venv / "emotion", "dvc": venv / "dvc"}.items():
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS "{__file__}" run "{address}" {target} "$@"\n')
        program.chmod(0o755)
    with (folder / "log").open("wb") as log, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, __file__, "serve", str(listener.fileno())], pass_fds=[listener.fileno()],
            stdout=log, stderr=log,
        )  # fmt: skip
    yield folder
    server.kill()
    server.wait()


def serve(listener: socket.socket) -> list[str]:
    """Load the libraries. Then return the arguments of every command, each in a fork with the command's state."""
    import importlib

    from emotion.runtime.tensorflow import load_tensorflow

    load_tensorflow(list_devices=False)
    for name in LIBRARIES:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "emotion"]:
        del sys.modules[name]  # every project has a copy of it
    gc.freeze()  # the forks' garbage collections would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # leaves no zombies
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            break
        connection.close()
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(connection.makefile().readline())
    if child := os.fork():
        with suppress(OSError):
            os.setpgid(child, child)
        ended = os.pidfd_open(child)
        ready, _, _ = select.select([ended, connection.fileno()], [], [])
        if ended not in ready:  # the program was killed
            os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with suppress(OSError):
            connection.sendall(json.dumps(code).encode())
        os._exit(0)
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # depends on the environment
    os.setpgid(0, 0)  # so that all its processes can be killed
    arguments: list[str] = request["arguments"]
    return arguments


def start_fork_servers_warm() -> None:
    """Let multiprocessing start its fork servers in forks of this process instead of new processes."""
    from multiprocessing import util

    start_process = util.spawnv_passfds

    def start(path: Any, arguments: Sequence[Any], descriptors: Sequence[int]) -> int:
        code = str(arguments[-1])
        if "multiprocessing.forkserver" not in code:
            return start_process(path, arguments, descriptors)
        if child := os.fork():
            return child
        try:
            for low, high in pairwise([*sorted({0, 1, 2, *descriptors}), MAX_DESCRIPTOR]):
                os.closerange(low + 1, high)
            exec(code, {})
        finally:
            os._exit(0)

    util.spawnv_passfds = start  # type: ignore[assignment]


def execute(arguments: list[str], exit_code: list[int]) -> None:
    """Run `-m MODULE …` or `SCRIPT …` like Python's command line; also put its exit code in a list."""
    import runpy

    sys.path[:1] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    exit_code[:] = [1]
    try:
        if arguments[0] == "-m":
            sys.path.insert(0, str(Path.cwd()))
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
        exit_code[:] = [0]
    except SystemExit as error:
        exit_code[:] = [error.code if isinstance(error.code, int) else int(error.code is not None)]
        raise


def leave(exit_code: list[int]) -> None:
    """Exit without finalizing the interpreter, which would copy most of a fork's pages."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code[0])


def run(address: str, arguments: list[str]) -> int:
    """Have the server run a command; return its exit code."""
    request = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = connection.makefile().read()
    code = int(answer)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(run(sys.argv[2], sys.argv[3:]))
    code = [0]
    atexit.register(leave, code)  # the first to be registered is the last to run
    arguments = serve(socket.socket(fileno=int(sys.argv[2])))
    start_fork_servers_warm()
    execute(arguments, code)
