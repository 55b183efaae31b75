"""Unusual checkouts, users and stores."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing

import pytest
from mlflow.models import Model

from support.faults import Place, cases, stage
from support.project import MODEL

NOBODY = 65534  # the user id that owns nothing
COMMANDS = {
    "fetch": stage("fetch"),
    "evaluate": stage("evaluate"),
    "promote": ("emotion", "promote", "1", "--dry-run"),
    "history": ("emotion", "history"),
    "predict": ("emotion", "predict", "data/face.png", "--no-detect"),
    "restore": ("emotion", "restore"),
}


def detach_head(place: Place) -> None:
    """Check out a commit instead of a branch."""
    place.project.run("git", "checkout", "--quiet", "--detach")


def make_shallow(place: Place) -> None:
    """Forget all commits but the last."""
    git = place.project.folder / ".git"
    place.project.run(
        "git", "clone", "--quiet", "--bare", "--depth=1", f"file://{git.parent}", str(place.temporary / "g")
    )
    shutil.rmtree(git)
    shutil.move(place.temporary / "g", git)
    place.project.run("git", "config", "core.bare", "false")


def remove_git(place: Place) -> None:
    """Delete the repository."""
    shutil.rmtree(place.project.folder / ".git")


def remove_home(place: Place) -> None:
    """Name a home folder that does not exist."""
    place.project.environment |= {"HOME": "/nonexistent"}


def use_second_store(place: Place) -> None:
    """Use another store, which has none of the runs."""
    place.project.environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{place.project.folder}/second.db"}


def replace_model(place: Place) -> None:
    """Register a model of another kind as version 2, and make it the champion."""
    folder = place.project.folder / "data/other"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"of another kind")
    Model(flavors={"python_function": {"loader_module": "os", "data": "model.bin"}}).save(str(folder / "MLmodel"))
    client = place.project.client
    client.create_model_version(MODEL, str(folder), None)
    client.set_registered_model_alias(MODEL, "champion", "2")


def make_schema_old(place: Place) -> None:
    """Say that the database has the schema of MLflow 1.0."""
    with closing(sqlite3.connect(place.project.folder / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")


ENVIRONMENTS: dict[str, Callable[[Place], None]] = {
    "a detached HEAD": detach_head,
    "a shallow clone": make_shallow,
    "no git repository": remove_git,
    "no home": remove_home,
    "a second store": use_second_store,
    "a model of another kind": replace_model,
    "an old schema": make_schema_old,
}
MUST_WORK = ("a detached HEAD", "a shallow clone", "no home")


@pytest.mark.parametrize(("environment", "name"), cases("environments", tuple(ENVIRONMENTS), tuple(COMMANDS)))
def test_a_command_works_or_says_why_not_in(environment: str, name: str, place: Place) -> None:
    place.add_face("data/face.png")
    ENVIRONMENTS[environment](place)
    done = place.attempt(*COMMANDS[name])
    assert environment not in MUST_WORK or done.returncode == 0, done.stderr
    if environment != "an old schema":
        place.assert_tidy()


@pytest.mark.parametrize("name", cases("permissions", tuple(COMMANDS)))
def test_in_a_checkout_of_another_user_a_command_works_or_names_what_is_not_permitted(name: str, place: Place) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving files to another user needs the rights of root")
    place.add_face("data/face.png")
    remove_home(place)
    subprocess.run(["chown", "-R", str(NOBODY), place.project.folder], check=True)
    done = place.attempt("setpriv", "--inh-caps=-all", "--bounding-set=-all", *COMMANDS[name], is_warm=False)
    if done.returncode == 1:
        assert "permi" in done.stderr or "readonly" in done.stderr, done.stderr
    place.assert_tidy()
