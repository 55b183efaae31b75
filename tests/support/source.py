"""The imports of the project's source files."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from support.project import ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "emotion"
MODULES = sorted(PACKAGE.rglob("*.py"))
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = list(DVC["stages"])


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, including inside functions, or names in a string."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.Constant(value=str(text)) if text.startswith("emotion."):
                yield text


def module_file(module: str) -> Path | None:
    """The file of a module of the project; None for anything else."""
    path = SOURCE.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


@cache
def imported_files(path: Path) -> frozenset[Path]:
    """The files of the project that a file imports; `__init__` files define nothing and do not count."""
    found = {file for file in map(module_file, imported_names(path)) if file}
    return frozenset(file for file in found if file.name != "__init__.py")


def subpackage(path: Path) -> str:
    """The top-level subpackage of a file, or the name of a top-level module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")
