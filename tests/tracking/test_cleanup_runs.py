"""Runs that killed processes left RUNNING."""

import signal
import subprocess
import sys
import time

from support.project import Project


def test_only_runs_of_exited_processes_are_killed_by_the_command_or_the_next_stage(copied_project: Project) -> None:
    copied_project.run("emotion", "cleanup-runs")  # creates the store
    copied_project.set_params(fetch__images=100_000)

    def start() -> "subprocess.Popen[bytes]":
        open_before = len(open_runs())
        process = subprocess.Popen(
            [sys.executable, "-m", "emotion.fetch"], cwd=copied_project.folder, env=copied_project.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(open_runs()) == open_before:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return process

    def open_runs() -> list[str]:
        found = copied_project.client.search_runs(["1"], "attributes.status = 'RUNNING'")
        return [run.info.run_id for run in found]

    alive = start()
    try:
        before = set(open_runs())
        dead = start()
        (orphan,) = set(open_runs()) - before
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        said = copied_project.run("emotion", "cleanup-runs").stdout
        assert f"fetch {orphan}: KILLED" in said
        assert said.endswith("Runs set to KILLED: 1; left alone: 1.\n")
        assert copied_project.client.get_run(orphan).info.status == "KILLED"
        assert set(open_runs()) == before
    finally:
        alive.send_signal(signal.SIGKILL)
        alive.wait(timeout=30)
    copied_project.set_params(fetch__images=70)
    (orphan,) = open_runs()
    said = copied_project.run("python", "-m", "emotion.fetch").stdout
    assert f"The run fetch {orphan} was left RUNNING by a process that was killed: set to KILLED." in said
    assert open_runs() == []
