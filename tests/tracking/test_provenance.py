"""The provenance of a run."""

import pytest
import yaml

from emotion.tracking.provenance import data_hash
from support.project import Project


def test_the_data_hash_is_dvcs_until_a_file_is_changed(
    copied_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copied_project.folder)
    outputs = yaml.safe_load((copied_project.folder / "dvc.lock").read_text())["stages"]["preprocess"]["outs"]
    recorded = {output["path"]: output["md5"] for output in outputs}["data/faces"]
    assert data_hash() == recorded
    index = copied_project.folder / "data/faces/index.csv"
    index.write_text(index.read_text().replace("happy", "tmp").replace("sad", "happy").replace("tmp", "sad"))
    assert data_hash() != recorded
