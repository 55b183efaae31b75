"""The layout of the code: packages, import directions, names and sizes."""

import ast
import re
import subprocess
import sys

import pytest
import yaml

from emotion.params.sections import Params, Train
from emotion.tracking.stage_runs import IRRELEVANT_PARAMS
from support.project import ROOT, imported
from support.source import DVC, MODULES, PACKAGE, STAGES, imported_files, imported_names, subpackage

# From top to bottom: a package imports only from layers below its own. Only cli and serving are above the stages.
ORDER = [
    {"cli"}, {"serving"}, set(STAGES), {"registry", "tuning"}, {"tracking"}, {"inference"}, {"evaluation"},
    {"training"}, {"networks"}, {"params"}, {"data"}, {"runtime"},
]  # fmt: skip
PURE = ("data", "networks", "training", "evaluation", "inference")  # independent of MLflow, DVC and the command line


def layer(name: str) -> int:
    return next(number for number, packages in enumerate(ORDER) if name in packages)


def test_packages_import_only_from_lower_layers() -> None:
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {target.relative_to(PACKAGE)}"
        for path in MODULES
        if path.parent != PACKAGE or path.name != "__init__.py"
        for target in imported_files(path)
        if subpackage(target) != subpackage(path) and layer(subpackage(target)) <= layer(subpackage(path))
    ]
    assert not upwards


def test_nothing_imports_a_stage() -> None:
    stages = {PACKAGE / f"{stage}.py" for stage in STAGES}
    assert not [path for path in MODULES if imported_files(path) & stages]


@pytest.mark.parametrize("name", PURE)
def test_pure_packages_import_no_tracking_or_command_line_library(name: str) -> None:
    for path in (PACKAGE / name).rglob("*.py"):
        tops = {module.split(".")[0] for module in imported_names(path)}
        assert not tops & {"mlflow", "dvc", "typer"}, path


@pytest.mark.parametrize(
    ("package", "owners"),
    [("mlflow", {"tracking/", "registry/"}), ("kaggle", {"data/sources/kaggle.py"}), ("keras.layers", {"networks/"})],
)
def test_a_library_is_imported_only_by_its_owners(package: str, owners: set[str]) -> None:
    for path in MODULES:
        name = path.relative_to(PACKAGE).as_posix()
        uses = any(module == package or module.startswith(f"{package}.") for module in imported_names(path))
        assert not uses or any(name.startswith(owner) for owner in owners), path


def test_init_files_define_nothing() -> None:
    """They may only set environment variables before other imports."""
    for path in PACKAGE.rglob("__init__.py"):
        defining = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
        assert not [node for node in ast.parse(path.read_text()).body if isinstance(node, defining)], path


def test_modules_are_short() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert not [path for path, count in lines.items() if count > 300]
    assert len([path for path, count in lines.items() if count > 200]) <= len(MODULES) / 8


def test_stages_modules_and_parameters_have_the_same_names_and_order() -> None:
    sections = list(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert STAGES == sections == [field.alias or name for name, field in Params.model_fields.items()]
    for stage in STAGES:
        assert (PACKAGE / f"{stage}.py").exists()
        assert DVC["stages"][stage]["cmd"] == f"PYTHONPATH=src python -m emotion.{stage}"
        names = DVC["stages"][stage]["params"]
        assert stage in {name.split(".")[0] for name in names}
    trained = {f"train.{name}" for name in Train.model_fields} - set(IRRELEVANT_PARAMS["tune"])
    assert set(DVC["stages"]["tune"]["params"]) == {"tune"} | trained


def test_a_stage_file_is_short() -> None:
    for stage in STAGES:
        assert len((PACKAGE / f"{stage}.py").read_text().splitlines()) <= 120


def test_a_stages_docstring_gives_its_command() -> None:
    for stage in STAGES:
        docstring = ast.get_docstring(ast.parse((PACKAGE / f"{stage}.py").read_text())) or ""
        assert f"python -m emotion.{stage}" in docstring
        assert "writes" in docstring


def test_test_folders_mirror_the_packages() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert folders == rooms | {"faults", "pipeline", "project"}


def test_a_fresh_clone_has_the_expected_top_level_files() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("no git repository here")
    top = {path.split("/")[0] for path in tracked.stdout.splitlines()}
    expected = {"dvc.yaml", "params.yaml", "src", "data", "models", "tests", "README.md", "requirements.txt"}
    assert expected <= top
    for folder, files in {"data": ["README.md", "corrections.csv"], "models": ["README.md"]}.items():
        found = [path for path in tracked.stdout.splitlines() if path.startswith(f"{folder}/")]
        assert found == [f"{folder}/{file}" for file in files]


def test_help_imports_no_heavy_package() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "emotion.cli.main", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "promote" in done.stdout
    assert "emotion.runtime.errors" in imported(done.stderr)
    assert not imported(done.stderr) & {"tensorflow", "mlflow", "pandas", "numpy"}


def test_nonstandard_terms_are_not_used() -> None:
    """Renamed identifiers do not come back."""
    invented = re.compile(
        r"\b(is_away|AwayError|without_journal|waits_for|is_hopeless|OvertakenError|exit_cleanly|plain_batches"
        r"|forbidden_operations|serving_network|MeanOverViews|LOOSENESS|binomial_p_value|smallest_size|sure_accuracy"
        r"|class_weighting|mend|mended|ill)\b"
    )
    texts = [*(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    documents = [ROOT / "README.md", ROOT / "params.yaml", ROOT / "dvc.yaml", *texts]
    found = {path: set(invented.findall(path.read_text())) for path in (*MODULES, *documents)}
    assert not {path: words for path, words in found.items() if words}
