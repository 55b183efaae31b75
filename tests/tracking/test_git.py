"""The commit and the uncommitted changes that runs record."""

import subprocess
from pathlib import Path

import pytest

from emotion.runtime.errors import UserError
from emotion.tracking.git import uncommitted_patch
from support.project import Project

PRIVATE_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n"  # pragma: allowlist secret
AWS_KEY = "AKIA" + "Q7XW2RZ5T3BN6MKD"  # in two parts, because git hosts look for it as well
TOKENS = [
    f'KEY_ID = "{AWS_KEY}"',
    'TOKEN = "ghp_' + "a1B2" * 9 + '"',
    'password = "pV7c20xQz"',  # pragma: allowlist secret
    'URI = "https://user:pV7c20xQz@server"',  # pragma: allowlist secret
    PRIVATE_KEY,
]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a committed src/a.py and .dvc/config, as the current folder."""
    monkeypatch.chdir(tmp_path)
    for path in ("src/a.py", ".dvc/config", "params.yaml"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text("# first\n")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "c"]):
        subprocess.run(["git", *command], check=True)
    return tmp_path


def test_a_patch_has_only_code_and_parameters(repository: Path) -> None:
    for path in (".dvc/config", "params.yaml", "src/a.py", "src/new.py", "src/ü new.py", "src/id_rsa", "tests/id_rsa"):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(f"# changed {path}\n")
    patch = uncommitted_patch()
    added = {line.removeprefix("+# changed ") for line in patch.splitlines() if line.startswith("+# changed")}
    assert added == {"params.yaml", "src/a.py", "src/new.py", "src/ü new.py"}


def test_a_patch_restores_changed_new_and_deleted_files(repository: Path, tmp_path: Path) -> None:
    Path("src/a.py").unlink()
    Path("src/b.py").write_bytes(b"windows = 1\r\nform = 2\x0c\n")
    patch = uncommitted_patch()
    subprocess.run(["git", "stash", "-qu"], check=True)
    subprocess.run(["git", "apply", "-"], input=patch.encode(), check=True)
    assert not Path("src/a.py").exists()
    assert Path("src/b.py").read_bytes() == b"windows = 1\r\nform = 2\x0c\n"


def test_a_clean_tree_has_no_patch(repository: Path) -> None:
    assert uncommitted_patch() == ""


@pytest.mark.parametrize("secret", TOKENS, ids=range(len(TOKENS)))
def test_a_secret_in_the_code_is_rejected_without_being_shown(repository: Path, secret: str) -> None:
    Path("src/new.py").write_text(f"import os\n{secret}\n")
    with pytest.raises(UserError, match=r"src/new\.py, line 2, looks like a secret \(.+\)\. Uncommitted") as raised:
        uncommitted_patch()
    assert "pV7c20xQz" not in str(raised.value)
    assert AWS_KEY not in str(raised.value)


def test_a_secret_is_found_in_a_project_below_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("project/src").mkdir(parents=True)
    Path("project/src/new.py").write_text(TOKENS[0])
    monkeypatch.chdir("project")
    with pytest.raises(UserError, match=r"project/src/new\.py, line 1, looks like a secret"):
        uncommitted_patch()


def test_a_line_with_the_allowlist_comment_is_accepted(repository: Path) -> None:
    Path("src/new.py").write_text(f"{TOKENS[2]}  # pragma: allowlist secret\n")
    assert "+password" in uncommitted_patch()


def test_a_stage_with_a_secret_in_its_code_stops_before_it_records_anything(copied_project: Project) -> None:
    (copied_project.folder / "src/emotion/new.py").write_text(TOKENS[0])
    done = copied_project.run("python", "-m", "emotion.fetch", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "src/emotion/new.py, line 1, looks like a secret (AWS Access Key)" in line
    assert not copied_project.runs()
    recorded = [path for path in copied_project.folder.rglob("*") if path.is_file() and "src" not in path.parts]
    assert not [path for path in recorded if AWS_KEY.encode() in path.read_bytes()]
