"""`emotion cleanup-runs`."""

import signal
import subprocess
import sys
import time

from support.project import Project


def test_only_runs_of_exited_processes_are_killed(copied_project: Project) -> None:
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

    dead = start()
    dead.send_signal(signal.SIGKILL)
    dead.wait()
    (orphan,) = open_runs()
    alive = start()
    try:
        said = copied_project.run("emotion", "cleanup-runs").stdout
        assert f"fetch {orphan}: KILLED" in said
        assert said.endswith("Runs set to KILLED: 1; left alone: 1.\n")
        assert copied_project.client.get_run(orphan).info.status == "KILLED"
        assert len(open_runs()) == 1
    finally:
        alive.send_signal(signal.SIGTERM)
        alive.wait(timeout=30)
