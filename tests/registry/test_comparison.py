"""Runs and versions are found by the names that people give, listed and compared."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from emotion.registry.comparison.compare import compare_runs
from emotion.runtime.errors import UserError
from emotion.tracking.git import code_difference
from emotion.tracking.queries import RunInfo
from support.project import MODEL, Project


@pytest.fixture(scope="module")
def compared(finished_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with version 1, and version 2 of the DVC experiment `short`, which is the champion by force."""
    project = finished_project.copy_to(tmp_path_factory.mktemp("compared") / "copy", with_store=True)
    project.run("dvc", "exp", "run", "--name", "short", "-S", "train.epochs=1")
    forced = project.run("emotion", "promote", "short", "--force", "--reason", "to test", check=False)
    assert f"{MODEL} version 2: PROMOTED" in forced.stdout
    return project


def test_the_card_of_a_version_has_the_verdict_of_the_gate(compared: Project) -> None:
    for number, said in (("1", "None yet"), ("2", "promoted by force, by ")):
        run_id = compared.client.get_model_version(MODEL, number).run_id
        for name in ("model_card.md", "model_card.html"):
            path = compared.client.download_artifacts(run_id, f"model_card/{name}")
            text = Path(path).read_text()
            assert said in text.partition("<!-- verdicts -->")[2].partition("<!-- end of verdicts -->")[0]
            assert "MTCNN" in text, "the rest stays"


def shown(project: Project, *command: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(project.run("emotion", *command, "--json").stdout)
    return rows


def test_trainings_and_versions_are_listed_with_score_and_alias(compared: Project) -> None:
    versions = shown(compared, "versions")
    assert [(row["version"], row["alias"], row["experiment"]) for row in versions] == [
        ("2", "champion", "short"), ("1", None, None),
    ]  # fmt: skip
    runs = shown(compared, "runs")
    scores = [float(row["test accuracy"]) for row in runs]
    assert scores == sorted(scores, reverse=True)
    assert {row["version"] for row in runs} == {"1", "2"}
    table = compared.run("emotion", "versions", COLUMNS="80").stdout
    assert max(map(len, table.splitlines())) <= 80
    for row in versions:
        assert row["run_id"][:8] in table


@pytest.mark.parametrize("name", ["2", "champion", "short", "run id"])
def test_a_version_is_found_by_each_of_its_names(compared: Project, name: str) -> None:
    run_id = compared.client.get_model_version(MODEL, "2").run_id
    found = compared.run("emotion", "trace", run_id[:8] if name == "run id" else name, "--json").stdout
    assert json.loads(found)["version"]["number"] == "2"


def test_any_runs_are_compared_by_name(compared: Project, tmp_path: Path) -> None:
    result = json.loads(compared.run("emotion", "compare", "1", "champion", "--json", "--code").stdout)
    assert result["parameters"] == {"train.epochs": {"1": "3", "champion": "1"}}
    (test,) = result["tests"]
    accuracies = result["metrics"]["test/accuracy"]
    assert test["split"] == "test"
    assert test["difference"] == pytest.approx(accuracies["champion"] - accuracies["1"])
    assert test["loss_difference"] == pytest.approx(
        result["metrics"]["test/loss"]["champion"] - result["metrics"]["test/loss"]["1"], abs=1e-3
    )
    assert "+  epochs: 1" in result["code"]["champion"]
    choosing = json.loads(compared.run("emotion", "compare", "1", "champion", "--json", "--validation").stdout)
    (test,) = choosing["tests"]
    accuracies = result["metrics"]["validation/accuracy"]
    assert test["split"] == "validation"
    assert test["difference"] == pytest.approx(accuracies["champion"] - accuracies["1"])
    text = compared.run("emotion", "compare", "short", "trial-000").stdout
    assert re.search(
        r"validation images, the accuracy of trial-000 is [\d.]+ percentage points (low|high)er than that of short",
        text,
    )
    unknown = compared.run("emotion", "compare", "1", "nothing", check=False)
    assert unknown.stderr.startswith("emotion: there is no run nothing. Give a version, an alias,")
    twice = compared.run("emotion", "compare", "2", "champion", check=False)
    assert twice.stderr == "emotion: a comparison needs at least two different runs, each once.\n"

    compared.run("emotion", "compare", "1", "champion", "--code", "--html", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert len(re.findall('src="data:image/png;base64,', page)) == 4
    for text in ("Which is better?", "McNemar", "Images on which they disagree", "Code: champion compared with 1"):
        assert text in page


def test_equal_parameters_that_were_written_differently_do_not_differ() -> None:
    first = RunInfo("a", "a", "FINISHED", {"choice": "[0.0, 0.2]", "width": "32", "rate": "0.1"}, {}, {}, 0)
    second = replace(first, id="b", params={"choice": "(0.0, 0.2)", "width": "32.0", "rate": "0.2"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emotion.registry.comparison.compare.read_artifact", lambda run_id, path: None)
        result = compare_runs([first, second], ["one", "other"])
    assert result.params.to_dict() == {"one": {"rate": "0.1"}, "other": {"rate": "0.2"}}
    assert result.tests == []


def test_parameters_that_a_run_lacks_are_shown_unless_it_is_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion.registry.comparison.compare.read_artifact", lambda run_id, path: None)
    older = RunInfo("a", "a", "FINISHED", {"width": "32"}, {}, {"stage": "train"}, 0)
    newer = replace(older, id="b", params={"width": "48", "new": "1"})
    shown = compare_runs([older, newer], ["older", "newer"]).params
    assert shown.loc["new"].to_dict() == {"older": "not recorded", "newer": "1"}
    trial = replace(older, id="c", tags={"stage": "trial"})
    assert list(compare_runs([trial, newer], ["trial", "newer"]).params.index) == ["width"]


def test_the_code_of_two_runs_is_compared_with_their_uncommitted_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("rate: 1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=b"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "c"]):
        subprocess.run(["git", *command], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / "params.yaml").write_text("rate: 2\n")
    patch = subprocess.run(["git", "diff"], capture_output=True, text=True, check=True).stdout
    assert code_difference((commit, patch), (commit, patch)) == ""
    assert "-rate: 1\n+rate: 2\n" in code_difference((commit, ""), (commit, patch))
    with pytest.raises(UserError, match="is not in this repository"):
        code_difference((commit, ""), ("0" * 40, ""))
    with pytest.raises(UserError, match="do not apply"):
        code_difference((commit, ""), (commit, patch.replace("rate: 1", "rate: 7")))
