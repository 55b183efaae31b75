"""A local MLflow server for the project's store."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from emotion.runtime.errors import UserError
from emotion.tracking.client import Connection

HOST = "127.0.0.1"


@contextmanager
def mlflow_server(store: Connection, port: int) -> Iterator[str]:
    """Serve a local store until the end of the context.

    Args:
        store: the connection to the store; if it is a server itself, nothing is started.
        port: the port to listen on.

    Yields:
        The address of the server, once it answers.

    Raises:
        UserError: if the port is in use, or the server does not start.
    """
    if store.is_remote:
        yield store.shown_uri.rstrip("/")
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"MLflow cannot listen on {HOST}:{port}: {error.strerror}. Choose another `--port`."
            ) from None
    environment = os.environ | {
        "MLFLOW_BACKEND_STORE_URI": store.uri,  # arguments are visible to all users; a URI may have a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",  # of MLflow about its own libraries
    }
    # One worker and no job runner: a local store has one reader and little memory to spare.
    program = str(Path(sys.executable).with_name("mlflow"))
    arguments = [program, "server", "--workers", "1", "--port", str(port), "--uvicorn-opts", "--log-level warning"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            address = f"http://{HOST}:{port}"
            while not _answers(address):
                if process.poll() is not None:
                    raise UserError("MLflow's server did not start; its messages are above. Run `emotion doctor`.")
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    try:
        return bool(requests.get(f"{address}/health", timeout=1).ok)
    except requests.RequestException:
        return False
