"""A disk that is full after some bytes."""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from emotion.runtime.files import folder_size
from support.faults import PROMOTE, STAGES, Place, cases, stage
from support.project import Project

COMMANDS = {
    **{name: stage(name) for name in STAGES},
    "promote": PROMOTE,
    "restore": ("emotion", "restore"),
    "space": ("emotion", "space", "data/space"),
    "export": ("emotion", "export", "data/model.tflite", "--format", "litert"),
    "predict": ("emotion", "predict", "data/face.png", "--no-detect", "--annotate", "data/annotated"),
}
MOUNTS = 12  # of each command


@pytest.mark.parametrize(("name", "seed"), cases("disk", tuple(COMMANDS), range(MOUNTS)))
def test_a_full_disk_is_reported_and_the_command_succeeds_when_there_is_space(
    name: str, seed: int, promoted_project: Project, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = folder_size(promoted_project.folder)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * size}", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a disk of limited size needs more rights")
    try:
        place = Place(promoted_project, disk)
        place.add_face("data/face.png")
        if name in ("restore", "register"):
            place.lose_store()
        if name == "promote":
            place.add_second_version()
        versions = [1, 2] if name == "promote" else [1]
        free = random.Random(f"{name} {seed}").randrange(1, size // 4)
        usage = shutil.disk_usage(disk)
        filler = place.project.folder / "data/filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(usage.free - free, 1))
        done = place.attempt(*COMMANDS[name])
        if done.returncode:
            assert "disk is full" in done.stderr or "No space left" in done.stderr, done.stderr
        filler.unlink()
        if done.returncode:
            place.succeed(*COMMANDS[name])
        assert place.state["versions"] == versions
        place.succeed("emotion", "cleanup-runs")
        place.assert_tidy()
        shutil.rmtree(place.temporary)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
