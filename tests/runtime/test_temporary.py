"""The folder for the temporary files of a process."""

import tempfile
from pathlib import Path

import pytest

from emotion.runtime.temporary import temporary_files


def test_the_folder_of_a_process_killed_before_it_had_an_owner_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # short, for the paths of sockets
        scratch = Path(name)
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        (scratch / "emotion-a1b2c3d4").mkdir()
        (scratch / "emotion-faces123").mkdir()
        (scratch / "emotion-faces123" / "of the user.png").touch()
        with temporary_files():
            (own,) = [path for path in scratch.iterdir() if path.name != "emotion-faces123"]
            assert Path(tempfile.gettempdir()) == own
        assert [path.name for path in scratch.iterdir()] == ["emotion-faces123"]
