"""`mlflow server` in a single process, so that it starts in a fork of a loaded process.

    python mlflow_process.py PID_FILE --host …

MLflow's command starts its web server as another process. Here the same command, with the same environment, runs in
this process, whose id is written to a file.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import mlflow.server
from mlflow.cli import cli


def run_here(command: list[str], extra_env: dict[str, str], **options: Any) -> None:
    """Run `python -m MODULE …` in this process."""
    _, flag, module, *arguments = command
    assert flag == "-m"
    os.environ.update(extra_env)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(str(os.getpid()))
    mlflow.server._exec_cmd = run_here
    cli(["server", *sys.argv[2:]])
