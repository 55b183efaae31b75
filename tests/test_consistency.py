"""What is written in several places agrees: stages, parameters, imports, documents."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, imported
from packaging.requirements import Requirement

from emotion.params import Params, Train
from emotion.tracking.stage_runs import UNUSED

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "emotion"
DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES = list(DVC["stages"])
README = (ROOT / "README.md").read_text()
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_names(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def project_file(module: str) -> Path | None:
    path = SOURCE / Path(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


def imported_files(start: Path) -> set[Path]:
    """All project modules that a file imports, directly or not."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += filter(None, map(project_file, imported_names(path)))
    return found


def test_stages_modules_and_parameters_have_the_same_names_in_the_same_order() -> None:
    sections = list(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert STAGES == sections == [field.alias or name for name, field in Params.model_fields.items()]
    for stage in STAGES:
        assert (PACKAGE / f"{stage}.py").exists()
        assert DVC["stages"][stage]["cmd"] == f"PYTHONPATH=src python -m emotion.{stage}"
        assert stage in {name.split(".")[0] for name in DVC["stages"][stage]["params"]}
    trained = {f"train.{name}" for name in Train.model_fields} - set(UNUSED["tune"])
    assert set(DVC["stages"]["tune"]["params"]) == {"tune"} | trained


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_every_project_module_that_it_imports(stage: str) -> None:
    declared = {ROOT / dependency for dependency in DVC["stages"][stage]["deps"]}
    needed = {
        path for path in imported_files(PACKAGE / f"{stage}.py") if path.stat().st_size and path.name != "__init__.py"
    }
    missing = {path for path in needed if not ({path, *path.parents} & declared)}
    assert not missing
    code = {path for path in declared if SOURCE in path.parents}
    assert not {path for path in code if not any(path in {n, *n.parents} for n in needed)}, "declared and not imported"


def test_every_metric_and_plotted_file_is_an_output_of_a_stage() -> None:
    outputs = [next(iter(out)) if isinstance(out, dict) else out for s in DVC["stages"].values() for out in s["outs"]]
    plotted = [[plot] if isinstance(plot, str) else next(iter(plot.values()))["y"] for plot in DVC["plots"]]
    for path in [*DVC["metrics"], *(path for paths in plotted for path in paths)]:
        assert any(path == out or path.startswith(f"{out}/") for out in outputs), path


def test_nothing_imports_a_stage() -> None:
    for path in MODULES:
        assert not {name for name in imported_names(path) if name in {f"emotion.{stage}" for stage in STAGES}}, path


@pytest.mark.parametrize(
    ("package", "owners"),
    [
        ("mlflow", {"store.py", "delivery.py", "tracking.py", "registry.py", "registration.py"}),
        ("kaggle", {"sources/kaggle.py"}),
        ("keras.layers", {"networks/"}),
    ],
)
def test_only_its_owner_imports(package: str, owners: set[str]) -> None:
    for path in MODULES:
        name = path.relative_to(PACKAGE).as_posix()
        uses = any(module == package or module.startswith(f"{package}.") for module in imported_names(path))
        assert not uses or any(name.startswith(owner) for owner in owners), path


def test_a_stage_file_is_short() -> None:
    for stage in STAGES:
        assert len((PACKAGE / f"{stage}.py").read_text().splitlines()) <= 120


def test_a_stages_docstring_gives_its_command() -> None:
    for stage in STAGES:
        docstring = ast.get_docstring(ast.parse((PACKAGE / f"{stage}.py").read_text())) or ""
        assert f"python -m emotion.{stage}" in docstring
        assert "writes" in docstring


def test_help_answers_without_the_heavy_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "emotion.cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "promote" in done.stdout
    assert "emotion.runtime.errors" in imported(done.stderr)
    assert not imported(done.stderr) & {"tensorflow", "mlflow", "pandas", "numpy"}


def direct_dependencies(optional: bool = False) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values() if optional else []
    return [re.split(r"[<>=\[]", name)[0] for names in (project["dependencies"], *extras) for name in names]


def test_the_lock_holds_every_direct_dependency_and_names_its_command() -> None:
    lock = (ROOT / "requirements.txt").read_text()
    assert "uv pip compile" in lock.splitlines()[1]
    for name in direct_dependencies():
        assert re.search(rf"^{name}==", lock, re.MULTILINE), name


def test_what_is_installed_is_what_the_locks_say() -> None:
    lines = [
        Requirement(line)
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
        if "==" in line and not line.startswith(" ")
    ]
    locked = {it.name: str(it.specifier).removeprefix("==") for it in lines if not it.marker or it.marker.evaluate()}
    installed = {re.sub(r"[-_.]+", "-", d.name).lower(): d.version for d in importlib.metadata.distributions()}
    for name in installed.keys() - {"emotion", "pip"}:
        assert locked.get(name) == installed[name], name


def test_every_third_party_import_is_a_direct_dependency() -> None:
    packages = {
        "google": "protobuf", "kagglesdk": "kaggle", "markdown-it": "markdown-it-py", "pil": "pillow",
        "sklearn": "scikit-learn", "yaml": "pyyaml",
    }  # fmt: skip
    declared = set(direct_dependencies(optional=True))
    for path in MODULES:
        for name in imported_names(path):
            top = name.split(".")[0].lower().replace("_", "-")
            known = top in sys.stdlib_module_names or top.replace("-", "_") in sys.stdlib_module_names
            assert known or top == "emotion" or packages.get(top, top) in declared, (path, name)


def readme_commands() -> list[str]:
    """What stands in the README's shell blocks, a command a line."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.split("#")[0].strip()]


def test_the_readmes_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [command.split()[1] for command in readme_commands() if command.startswith("make ")]
    assert {"repro", "test", "ui"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readmes_parameters_exist_and_accept_the_values_shown() -> None:
    shown = re.findall(r"(?:-S|--set-param)[ =]([\w.]+)=(\S+)", "\n".join(readme_commands()))
    assert shown
    for key, value in shown:
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        *parents, last = key.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        assert last in section, key
        section[last] = yaml.safe_load(value)
        Params.model_validate(content)


def test_the_readmes_emotion_commands_exist() -> None:
    commands = {command.split()[1] for command in readme_commands() if command.startswith("emotion ")}
    assert commands
    for command in commands:
        subprocess.run([sys.executable, "-m", "emotion.cli.main", command, "--help"], capture_output=True, check=True)


def test_the_readmes_tree_names_what_is_there() -> None:
    tree = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        for name in re.findall(r"^\s*([\w./{},-]+)", line):
            path = name.strip()
            generated = path.startswith(("data/", "models/", "reports/"))
            assert generated or list(ROOT.glob(path)) or list(PACKAGE.glob(path)), path


def test_the_readmes_figures_are_those_of_the_committed_metrics() -> None:
    # As committed: the working file is from whatever ran here last.
    shown = subprocess.run(["git", "show", "HEAD:reports/metrics.json"], cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip("no git history here")
    metrics = json.loads(shown.stdout)
    row = re.search(r"\| drawn faces.*", README)
    assert row
    assert f"{metrics['test']['accuracy']:.1%}" in row[0].replace(" %", "%")
