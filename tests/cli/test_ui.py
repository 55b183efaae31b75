"""`emotion ui` in a browser."""

import shutil
import subprocess
from pathlib import Path

import pytest

from support.project import Project
from support.servers import free_port, serving


def test_the_ui_shows_the_projects_runs_in_a_browser(finished_project: Project, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium on this machine; .ci/run installs it")
    port = free_port()
    with serving(["emotion", "ui", "--port", str(port)], finished_project, port) as said:
        address = said.split()[-1]
        page = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
             "--disable-component-update", "--no-first-run", f"--user-data-dir={tmp_path}",
             "--virtual-time-budget=30000", "--window-size=1600,1000", "--dump-dom",
             address],
            capture_output=True, text=True, timeout=120,
        ).stdout  # fmt: skip
    for text in ("Runs by test accuracy", ">train residual-4 · drawn faces · ", "test/macro_f1"):
        assert text in page
    for other in ("preprocess", "tune ", "trial-0"):
        assert f">{other}" not in page
