"""The lineage of a version."""

import json
import re
from pathlib import Path

import pytest
import yaml

from support.project import Project


def test_a_trace_shows_the_full_lineage_of_a_version(finished_project: Project) -> None:
    found = json.loads(finished_project.run("emotion", "trace", "1", "--json").stdout)
    run = finished_project.client.get_run(found["training"]["run_id"])
    logged = finished_project.client.download_artifacts(run.info.run_id, "source/dvc.lock")
    assert {"fetch", "preprocess", "tune", "train"} <= set(yaml.safe_load(Path(logged).read_text())["stages"])
    assert found["code"]["commit"] == finished_project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert found["code"]["is_dirty"] is False
    assert re.fullmatch("[0-9a-f]{64}", found["code"]["dvc_lock_sha256"])
    source = json.loads((finished_project.folder / "data/raw/source.json").read_text())
    assert found["data"]["archive_sha256"] == source["sha256"]
    assert found["data"]["dvc_hash"].endswith(".dir")
    record = json.loads((finished_project.folder / "reports/runs/tune.json").read_text())
    best = record["search"]["best"]
    assert (found["search"]["run_id"], found["search"]["trial"]) == (record["run_id"], best["trial"])
    assert found["search"]["trial_run_id"] == best["run_id"]
    assert found["training"]["seed"] == "0"
    assert found["training"]["libraries"]["tensorflow"].startswith("2")
    assert "cores" in found["training"]["machine"]
    assert "@" in found["version"]["registered_by"]
    assert found["parameters"] == run.data.params
    metrics = json.loads((finished_project.folder / "reports/metrics.json").read_text())
    assert found["metrics"]["test/accuracy"] == pytest.approx(metrics["test"]["accuracy"], abs=1e-4)
    assert "facial-emotion" in finished_project.run("emotion", "trace", "1").stdout
