"""Locked packages match the code's imports and the environment."""

import importlib.metadata
import re
import sys
import tomllib

from emotion.cli.doctor import locked_versions
from support.project import ROOT
from support.source import MODULES, imported_names


def direct_dependencies(optional: bool = False) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values() if optional else []
    return [re.split(r"[<>=\[]", name)[0] for names in (project["dependencies"], *extras) for name in names]


def test_the_lock_file_has_every_direct_dependency_and_its_command() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    assert "uv pip compile" in lock.splitlines()[1]
    for name in direct_dependencies():
        assert re.search(rf"^{name}==", lock, re.MULTILINE), name


def test_installed_packages_match_the_lock_files() -> None:
    locked = locked_versions(ROOT / "requirements.txt") | locked_versions(ROOT / "requirements-dev.txt")
    installed = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in importlib.metadata.distributions()}
    for name in installed.keys() - {"emotion", "pip", "uv"}:
        assert locked.get(name) == installed[name], name


def test_every_third_party_import_is_a_direct_dependency() -> None:
    packages = {
        "backports": "backports-zstd", "google": "protobuf", "kagglesdk": "kaggle", "markdown-it": "markdown-it-py",
        "pil": "pillow", "ruamel": "ruamel-yaml", "skimage": "scikit-image", "sklearn": "scikit-learn",
        "yaml": "pyyaml",
    }  # fmt: skip
    declared = set(direct_dependencies(optional=True))
    for path in MODULES:
        for name in imported_names(path):
            top = name.split(".")[0].lower().replace("_", "-")
            known = top in sys.stdlib_module_names or top.replace("-", "_") in sys.stdlib_module_names
            assert known or top == "emotion" or packages.get(top, top) in declared, (path, name)
