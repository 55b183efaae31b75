"""Commands, paths and numbers in the README are correct."""

import json
import re
import subprocess
import sys

import pytest
import yaml

from emotion.params.sections import Params
from support.project import ROOT
from support.source import PACKAGE

README = (ROOT / "README.md").read_text()


def readme_commands() -> list[str]:
    """The commands in the README's shell blocks."""
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


def test_every_path_in_the_readmes_tree_exists() -> None:
    tree = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert tree
    for line in tree[1].splitlines():
        for name in re.findall(r"^\s*([\w./{},-]+)", line):
            path = name.strip()
            generated = path.startswith(("data/", "models/", "reports/"))
            assert generated or list(ROOT.glob(path)) or list(PACKAGE.glob(path)), path


def test_the_readmes_numbers_match_the_committed_metrics() -> None:
    # Use the committed file: the working copy is from the latest local run.
    shown = subprocess.run(["git", "show", "HEAD:reports/metrics.json"], cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip("no git history here")
    metrics = json.loads(shown.stdout)
    row = re.search(r"\| drawn faces.*", README)
    assert row
    assert f"{metrics['test']['accuracy']:.1%}" in row[0].replace(" %", "%")
