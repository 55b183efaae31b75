"""`emotion promote`, `rollback` and `history`."""

import json
import re

from support.project import MODEL, Project

LENIENT = {"min_accuracy": 0.0, "max_calibration_error": 1.0, "max_latency_ratio": 1e6}


def change_gate(project: Project, **bounds: float) -> None:
    for key, value in bounds.items():
        project.set_params(**{f"register__gate__{key}": value})


CALLED = "`emotion versions` lists their aliases, experiments and run ids."


def test_exit_codes_report_the_outcome_of_a_promotion(copied_project: Project) -> None:
    project = copied_project
    project.run("emotion", "restore")
    change_gate(project, min_accuracy=0.999)
    rejected = project.run("emotion", "promote", "1", check=False)
    assert rejected.returncode == 4
    assert re.search(r"accuracy +│ 0\.\d+ +│ >= 0\.999 +│ failed", rejected.stdout)
    assert f"{MODEL} version 1: REJECTED.\nFailed: accuracy.\nTrain a better version, change" in rejected.stdout
    assert project.client.get_model_version(MODEL, "1").tags["gate.champion"].startswith("REJECTED, by ")
    without_reason = project.run("emotion", "promote", "1", "--force", check=False)
    assert (without_reason.returncode, without_reason.stderr) == (
        1, "emotion: --force needs a --reason, which is recorded.\n",
    )  # fmt: skip

    change_gate(project, **LENIENT)
    dry = project.run("emotion", "promote", "1", "--dry-run")
    assert "PROMOTED (dry run: nothing was changed)" in dry.stdout
    history = project.run("emotion", "history").stdout
    assert "No version of facial-emotion was ever promoted." in history
    assert "There is no champion." in history
    refused = json.loads(project.run("emotion", "history", "--all", "--json").stdout)
    assert [(entry["action"], entry["verdict"]) for entry in refused] == [("refuse", "REJECTED")]
    first = project.run("emotion", "promote", "1", "--reason", "the first [of many]")
    assert "It is now the champion; there was none before.\nWarning: " in first.stdout
    assert project.run("emotion", "promote", "1").stdout == f"{MODEL} version 1 is already the champion.\n"
    shown = project.run("emotion", "history")
    assert "the first [of many]" in shown.stdout
    assert "champion: version 1" in shown.stdout
    (entry,) = json.loads(project.run("emotion", "history", "--json").stdout)
    assert entry["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    nowhere = project.run("emotion", "rollback", check=False)
    assert nowhere.returncode == 1
    assert nowhere.stderr.startswith(f"emotion: {MODEL} has no previous champion to roll back to.")
    missing = project.run("emotion", "promote", "7", check=False)
    said = f"emotion: {MODEL} has no version 7. Its versions: 1. {CALLED}\n"
    assert (missing.returncode, missing.stderr) == (1, said)
