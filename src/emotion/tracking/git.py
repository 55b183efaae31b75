"""What git knows of the code of a run: the commit, and the uncommitted changes."""

import os
import subprocess
import tempfile
from pathlib import Path

from emotion.runtime.errors import UserError

# The only files in a patch. All others may be data or credentials.
_SUFFIXES = ("py", "yaml", "json", "toml", "j2", "txt", "css", "js", "html")
_CODE = (
    "dvc.yaml",
    "params.yaml",
    "pyproject.toml",
    "requirements.txt",
    *(f":(glob)src/**/*.{it}" for it in _SUFFIXES),
)


def git_commit() -> str:
    """The commit that is checked out; `unknown` outside a git repository."""
    return _git("rev-parse", "HEAD").strip() or "unknown"


def is_pushed(commit: str) -> bool:
    """Whether a branch of a remote repository, as known here, contains a commit."""
    return bool(_git("branch", "--remotes", "--contains", commit).strip())


def uncommitted_patch() -> str:
    """The diff of the pipeline's code against the checked-out commit, including new files; empty for a clean tree.

    `git apply` on the commit restores the code. The index is not changed.

    Raises:
        UserError: if an added line looks like a password, a key or a token.
    """
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git("read-tree", "HEAD", env=index)
        _git("add", "--update", "--", ".", env=index)
        new_files = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE, env=index)
        _git("add", "--pathspec-from-file=-", "--pathspec-file-nul", env=index, stdin=new_files)
        patch = _git("diff", "--cached", "--binary", "HEAD", "--", *_CODE, env=index)
    if patch:
        _reject_secrets(patch)
    return patch


def _reject_secrets(patch: str) -> None:
    # Imported here, because most runs have no patch.
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
    from detect_secrets.core.scan import scan_diff
    from detect_secrets.settings import get_settings, transient_settings

    # Without the detectors for strings that merely look random or like an address, which code is full of.
    names = {detector.__name__ for detector in get_mapping_from_secret_type_to_class().values()}
    names -= {"Base64HighEntropyString", "HexHighEntropyString", "IPPublicDetector"}
    with transient_settings({"plugins_used": [{"name": name} for name in sorted(names)]}):
        get_settings().disable_filters("detect_secrets.filters.common.is_invalid_file")  # depends on the current folder
        for found in scan_diff(patch):
            raise UserError(
                f"{found.filename}, line {found.line_number}, looks like a secret ({found.type}). Uncommitted changes"
                " are stored with every run, in MLflow and by DVC. Remove the secret; if it is none, end the line"
                " with `# pragma: allowlist secret`."
            )


def _git(*arguments: str, env: dict[str, str] | None = None, stdin: str = "") -> str:
    """A git command's output; empty if it fails or git is not installed."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, check=True, env={**os.environ, **(env or {})},
            input=stdin.encode(errors="surrogateescape"),
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode(errors="replace")


def code_difference(first: tuple[str, str], second: tuple[str, str]) -> str:
    """The difference between the code of two runs, as a diff; empty if there is none.

    Args:
        first: the commit and the uncommitted changes of one run.
        second: those of the other.

    Raises:
        UserError: if the repository lacks a commit, or the changes do not apply to it.
    """
    trees = [_tree(*code) for code in (first, second)]
    return _git("diff", *trees, "--", *_CODE)


def _tree(commit: str, patch: str) -> str:
    """The git tree of a commit with uncommitted changes; the index and the files here are not changed."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if not _git("rev-parse", "--verify", "--quiet", f"{commit}^{{tree}}"):
            raise UserError(f"the commit {commit} is not in this repository. Try `git fetch --all`.")
        _git("read-tree", commit, env=index)
        if patch and not _applies(patch, index):
            raise UserError(f"the recorded changes do not apply to their commit {commit}.")
        return _git("write-tree", env=index).strip()


def _applies(patch: str, index: dict[str, str]) -> bool:
    before = _git("write-tree", env=index)
    _git("apply", "--cached", "-", env=index, stdin=patch)
    return _git("write-tree", env=index) != before
