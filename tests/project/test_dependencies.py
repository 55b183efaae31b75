"""The dependencies in dvc.yaml are exactly the code that determines a stage's outputs."""

from pathlib import Path

import pytest

from support.project import ROOT, Project
from support.source import DVC, MODULES, PACKAGE, SOURCE, STAGES, imported_files

# Tracking and command-line code does not affect outputs. DVC tracks the values in params.yaml itself.
EXCLUDED = {"tracking", "registry", "serving", "cli", "params"}


def is_excluded(path: Path) -> bool:
    folder = path.relative_to(PACKAGE).parts[0]
    return folder in EXCLUDED or (folder == "runtime" and path.name != "tensorflow.py")


def work_of(stage: str) -> set[Path]:
    """The files that a stage imports, directly or indirectly, without excluded packages."""
    found: set[Path] = set()
    queue = [PACKAGE / f"{stage}.py"]
    while queue:
        path = queue.pop()
        if path not in found and not is_excluded(path):
            found.add(path)
            queue += imported_files(path)
    return found


def code_files(path: Path) -> set[Path]:
    """The files of a dependency; `__init__` files define nothing and do not count."""
    files = path.rglob("*.py") if path.is_dir() else [path]
    return {file for file in files if file.name != "__init__.py"}


def code_deps(stage: str) -> list[Path]:
    return [path for path in (ROOT / name for name in DVC["stages"][stage]["deps"]) if SOURCE in path.parents]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stages_deps_are_exactly_what_its_work_imports(stage: str) -> None:
    declared = set().union(*map(code_files, code_deps(stage)))
    assert declared == work_of(stage)
    assert len(code_deps(stage)) <= 15


@pytest.mark.parametrize("stage", STAGES)
def test_a_fully_imported_folder_is_listed_as_a_folder(stage: str) -> None:
    work = work_of(stage)
    for path in code_deps(stage):
        siblings = code_files(path.parent)
        assert path.parent == PACKAGE or not siblings <= work or len(siblings) == 1, path


def test_every_metric_and_plotted_file_is_an_output_of_a_stage() -> None:
    outputs = [next(iter(out)) if isinstance(out, dict) else out for s in DVC["stages"].values() for out in s["outs"]]
    plotted = [[plot] if isinstance(plot, str) else next(iter(plot.values()))["y"] for plot in DVC["plots"]]
    for path in [*DVC["metrics"], *(path for paths in plotted for path in paths)]:
        assert any(path == out or path.startswith(f"{out}/") for out in outputs), path


def test_run_records_are_outputs_and_never_dependencies() -> None:
    stages = DVC["stages"].values()
    assert len([out for stage in stages for out in stage["outs"] if str(out).startswith("reports/runs/")]) == 4
    assert not [dep for stage in stages for dep in stage["deps"] if dep.startswith("reports/runs")]


def changed_stages(project: Project) -> set[str]:
    """The stages whose own dependencies changed, according to DVC."""
    import json

    status = json.loads(project.run("dvc", "status", "--json").stdout)
    return {
        stage
        for stage, changes in status.items()
        for change in changes
        if isinstance(change, dict) and any(name.startswith("src/") for name in change.get("changed deps", {}))
    }


def test_editing_a_file_changes_only_the_stages_that_depend_on_it(logged_project: Project) -> None:
    def append_comment(files: set[Path]) -> None:
        for file in files:
            with (logged_project.folder / file.relative_to(ROOT)).open("a") as opened:
                opened.write("\n# a comment\n")

    every = {path for path in MODULES if path.name != "__init__.py"}
    by_stages: dict[frozenset[str], set[Path]] = {}
    for file in every:
        stages = frozenset(stage for stage in STAGES if file in work_of(stage))
        by_stages.setdefault(stages, set()).add(file)
    append_comment(by_stages.pop(frozenset()))
    assert logged_project.run("dvc", "status", "--json").stdout.strip() == "{}"
    seen: set[str] = set()
    for stages, files in sorted(by_stages.items(), key=lambda item: (len(item[0]), sorted(item[0]))):
        append_comment(files)
        seen |= stages
        assert changed_stages(logged_project) == seen, files
    assert seen == set(STAGES)
