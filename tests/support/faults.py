"""How a command is tried in a project where something is broken, and how the outcome is judged."""

import itertools
import random
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import psutil
import pytest
from _pytest.mark import ParameterSet
from PIL import Image

from emotion.registry.signature import input_example
from emotion.runtime.processes import has_exited
from emotion.tracking.runs import PROCESS_TAG
from support.project import MODEL, Project, kind_of

PASSWORD = "hunter2-4711"  # in the environment of every command; must appear nowhere
STAGES = ("fetch", "preprocess", "tune", "train", "evaluate", "register")
PROMOTE = ("emotion", "promote", "2", "--force", "--reason", "a second version")  # after `add_second_version`
EXIT_CODES = {0, 1, 2, 3, 4}  # success, an error, wrong usage, held, rejected
DVC_ERROR = 255
# What libraries print by themselves, which is not a message of the program.
NOISE = re.compile(r"^(\d{4}[-/]|[WIE]\d{4} |WARNING|To enable|INFO|\s|$)")


def stage(name: str) -> tuple[str, ...]:
    """The command of a stage."""
    return ("python", "-m", f"emotion.{name}")


class Place:
    """A copy of a project in a folder of its own, with a folder for temporary files.

    Args:
        project: the project to copy.
        folder: receives the copy; nothing else may appear in it.
    """

    def __init__(self, project: Project, folder: Path) -> None:
        self.project = project.copy_to(folder / "project", with_store=True)
        self.temporary = Path(tempfile.mkdtemp(dir="/tmp", prefix="fault-"))  # short, for the paths of sockets
        self.project.environment |= {
            "TMPDIR": str(self.temporary), "KAGGLE_KEY": PASSWORD, "KAGGLE_API_TOKEN": PASSWORD,
        }  # fmt: skip
        self.before = set(folder.iterdir())
        self.folder = folder

    @property
    def state(self) -> dict[str, object]:
        """What no fault may lose or double: finished runs by name, versions and aliases."""
        client, finished = self.project.client, self.project.runs("attributes.status = 'FINISHED'")
        names = [kind_of(run) for run in finished]
        versions = client.search_model_versions()
        aliases = {name: model.aliases for model in client.search_registered_models() for name in [model.name]}
        return {
            "runs": {name: names.count(name) for name in sorted({*names})},
            "versions": sorted(int(version.version) for version in versions),
            "aliases": aliases,
        }

    def lose_store(self) -> None:
        """Replace the tracking store by an empty one."""
        shutil.rmtree(self.project.folder / "mlartifacts")
        for path in self.project.folder.glob("mlflow.db*"):
            path.unlink()

    @property
    def running(self) -> list[str]:
        """The names of the runs that are RUNNING, read without creating or migrating the store."""
        try:
            with closing(sqlite3.connect(f"file:{self.project.folder}/mlflow.db?mode=ro", uri=True)) as database:
                return [name for (name,) in database.execute("SELECT name FROM runs WHERE status = 'RUNNING'")]
        except sqlite3.OperationalError:  # there is no store yet
            return []

    def add_second_version(self) -> None:
        """Register a copy of version 1."""
        client, uri = self.project.client, mlflow.get_tracking_uri()
        first = client.get_model_version(MODEL, "1")
        mlflow.set_tracking_uri(self.project.store)  # where MLflow looks for the version's source
        client.create_model_version(MODEL, first.source, first.run_id, first.tags)
        mlflow.set_tracking_uri(uri)

    def add_face(self, path: str) -> None:
        """Write an image of a face."""
        Image.fromarray(input_example((48, 48, 1))[0, ..., 0].astype(np.uint8)).save(self.project.folder / path)

    def remove(self) -> None:
        """Delete the copy."""
        self.wait_for_end()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.temporary)

    def start(self, *command: str, is_warm: bool = True) -> "subprocess.Popen[str]":
        """Start a command."""
        environment = self.project.warm_environment if is_warm else self.project.environment
        return subprocess.Popen(
            command, cwd=self.project.folder, env=environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace",
        )  # fmt: skip

    def end(self, process: "subprocess.Popen[str]", seconds: float = 600) -> "subprocess.CompletedProcess[str]":
        """Wait until a command ends, and judge how it does."""
        output, error = process.communicate(timeout=seconds)
        done = subprocess.CompletedProcess(process.args, process.returncode, output, error)
        judge(done)
        return done

    def attempt(self, *command: str, seconds: float = 600, is_warm: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command, and judge how it ends."""
        return self.end(self.start(*command, is_warm=is_warm), seconds)

    def succeed(self, *command: str) -> None:
        """Run a command that must succeed."""
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}:\n{done.stderr[-2000:]}"

    def wait_for_end(self) -> None:
        """Wait until no process works in the project."""
        deadline = time.monotonic() + 60
        while working := processes_in(self.folder):
            assert time.monotonic() < deadline, working
            time.sleep(0.1)

    def assert_tidy(self) -> None:
        """Nothing is left behind: processes, temporary files, half-written files, open runs."""
        self.wait_for_end()
        assert set(self.folder.iterdir()) == self.before
        assert sorted(self.temporary.rglob("*")) == []
        left = [path for path in self.project.folder.rglob("tmp-*") if ".dvc" not in path.parts]
        assert left == []
        for run in self.project.runs("attributes.status = 'RUNNING'"):
            assert not has_exited(run.data.tags.get(PROCESS_TAG, "")), run.info.run_name


def processes_in(folder: Path) -> list[str]:
    """The commands of the processes whose current folder is in a folder."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline", "status"]):
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder):
            found.append(f"{process.pid} {' '.join(process.info['cmdline'] or [])[:200]}")
    return found


def judge(done: "subprocess.CompletedProcess[str]") -> None:
    """A command ends with a known exit code, without a traceback, and an error is one line."""
    output = f"{done.args} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    program = Path(done.args[0]).name
    assert done.returncode in EXIT_CODES or (program == "dvc" and done.returncode == DVC_ERROR), output
    assert "Traceback" not in done.stdout + done.stderr, output
    assert PASSWORD not in done.stdout + done.stderr, output
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", done.stdout + done.stderr), output
    if done.returncode == 1 and program != "dvc" and "doctor" not in done.args:  # it prints a table
        names = ("emotion", *STAGES)
        messages = [line for line in done.stderr.splitlines() if line.startswith(tuple(f"{name}: " for name in names))]
        assert len(messages) == 1 or "predict" in done.args, output  # it has one for each file
        others = [line for line in done.stderr.splitlines() if line not in messages and not NOISE.match(line)]
        assert not [line for line in others if "rror" in line], output


def damage_file(path: Path, how: str, random_numbers: random.Random) -> None:
    """Damage a file.

    Args:
        path: the file.
        how: `missing`, `empty`, `cut`, `random bytes`, `another format` or `a folder`.
        random_numbers: decides where it is cut, and the bytes.
    """
    content = path.read_bytes()
    path.unlink()
    match how:
        case "empty":
            path.touch()
        case "cut":
            path.write_bytes(content[: random_numbers.randrange(1, max(len(content), 2))])
        case "random bytes":
            path.write_bytes(random_numbers.randbytes(len(content)))
        case "another format":
            path.write_text('{"version": 99, "content": [null, NaN]}\n')
        case "a folder":
            path.mkdir()


def cases(seed: str, *axes: Sequence[Any], limit: int | None = None) -> list[ParameterSet]:
    """Combinations of the values of some axes, as pytest's parameters, in an order that a seed determines."""
    found = list(itertools.product(*axes))
    random.Random(seed).shuffle(found)
    return [pytest.param(*case, id=", ".join(map(_label, case))) for case in found[:limit]]


def _label(value: Any) -> str:
    return " ".join(map(_label, value)) if isinstance(value, tuple) else str(value)
