"""A failing stage gives one message, a FAILED run and no partial files."""

import sys
from typing import Any

import pytest

from support.project import Project


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fetch__source": "path", "fetch__path": "none.zip"}, "fetch: there is nothing at"),
        ({"preprocess__protocol": "folders", "fetch__images": 70}, None),
    ],
)
def test_a_failing_stage_sets_its_run_to_failed(
    copied_project: Project, changes: dict[str, Any], message: str | None
) -> None:
    copied_project.set_params(**changes)
    if message is None:  # the dataset is deleted before the stage
        (copied_project.folder / "data/faces/index.csv").unlink()
        done = copied_project.run("python", "-m", "emotion.evaluate", check=False)
        message, stage = "evaluate: ", "train"  # evaluate continues the run of train
    else:
        done, stage = copied_project.run("dvc", "repro", check=False), "fetch"
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert copied_project.run_of(stage).info.status == "FAILED"


def test_a_read_only_folder_is_explained(copied_project: Project) -> None:
    folder = copied_project.folder / "models"
    done = copied_project.run(
        "unshare", "--mount", "--map-root-user", "sh", "-c",
        f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec {sys.executable} -m emotion.tune",
        check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("this machine allows no private mounts")
    assert done.returncode == 1
    assert "tune: " in done.stderr
    assert "read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body>Sign in</body></html>", "bad.zip is a web page"),
        (None, "bad.zip is a truncated or damaged zip"),
    ],
)
def test_the_error_for_a_bad_archive_names_the_users_file(
    copied_project: Project, content: bytes | None, message: str
) -> None:
    whole = (copied_project.folder / "data/raw/faces.zip").read_bytes()
    (copied_project.folder / "bad.zip").write_bytes(content or whole[: len(whole) // 2])
    copied_project.set_params(fetch__source="path", fetch__path="bad.zip")
    done = copied_project.run("python", "-m", "emotion.fetch", check=False)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert (copied_project.folder / "data/raw/faces.zip").read_bytes() == whole
