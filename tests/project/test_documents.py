"""Commands, paths, links and numbers in the documents are correct."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from emotion.params.sections import Params
from support.project import ROOT
from support.source import PACKAGE

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks/README.md"]


def documented_commands() -> list[str]:
    """The commands in the shell blocks of the documents."""
    blocks = [block for path in DOCUMENTS for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)]
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.split("#")[0].strip()]


def test_the_documented_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [command.split()[1] for command in documented_commands() if command.startswith("make ")]
    assert {"repro", "test", "ui"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_documented_parameters_exist_and_accept_the_values_shown() -> None:
    shown = re.findall(r"(?:-S|--set-param)[ =]([\w.]+)=(\S+)", "\n".join(documented_commands()))
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


def test_the_documented_emotion_commands_exist() -> None:
    commands = {command.split()[1] for command in documented_commands() if command.startswith("emotion ")}
    assert commands
    for command in commands:
        subprocess.run([sys.executable, "-m", "emotion.cli.main", command, "--help"], capture_output=True, check=True)


def test_every_path_in_the_tree_of_the_layout_exists() -> None:
    tree = re.search(r"```text\n(.*?)```", (ROOT / "docs/development.md").read_text(), re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        for name in re.findall(r"^\s*([\w./{},-]+)", line):
            path = name.strip()
            generated = path.startswith(("data/", "models/", "reports/"))
            assert generated or list(ROOT.glob(path)) or list(PACKAGE.glob(path)), path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("https://"):
            name, _, anchor = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_a_page() -> None:
    assert len(README.splitlines()) <= 130


def test_the_readmes_numbers_match_the_committed_metrics() -> None:
    # Use the committed file: the working copy is from the latest local run.
    shown = subprocess.run(["git", "show", "HEAD:reports/metrics.json"], cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip("no git history here")
    metrics = json.loads(shown.stdout)
    row = re.search(r"\| drawn faces.*", README)
    assert row
    assert f"{metrics['test']['accuracy']:.1%}" in row[0].replace(" %", "%")
