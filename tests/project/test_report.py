"""The report of a pull request, .github/report.py."""

import json
import math
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from support.project import ROOT, Project

PREDICTIONS = "reports/evaluation/test/predictions.csv"


@dataclass(frozen=True)
class History:
    """A project, and its commits."""

    project: Project
    base: str  # wrong on images 0 to 13
    better: str  # wrong on 13 and 14, and evaluated with another parameter
    similar: str  # wrong on 0 to 10, and 14
    other_images: str  # as `similar`, without the last image


def report(project: Project, *commits: str) -> str:
    return project.run("python", str(ROOT / ".github/report.py"), *commits).stdout


def commit_model(project: Project, mistakes: Collection[int], images: int | None = None) -> str:
    """Commit predictions with mistakes for these images only, and their accuracy; return the commit."""
    path = project.folder / PREDICTIONS
    table = pd.read_csv(path, keep_default_na=False)[:images]
    others = table["actual"].map(lambda emotion: "sad" if emotion == "happy" else "happy")
    table["predicted"] = table["actual"].mask(table.index.isin(mistakes), others)
    table.to_csv(path, index=False)
    metrics = project.read_json("reports/metrics.json")
    metrics["test"]["accuracy"] = metrics["test_answered"]["accuracy"] = 1 - len(mistakes) / len(table)
    (project.folder / "reports/metrics.json").write_text(json.dumps(metrics))
    project.run("dvc", "commit", "--force", "--quiet", "evaluate")
    project.commit()
    return project.run("git", "rev-parse", "--short", "HEAD").stdout.strip()


@pytest.fixture(scope="module")
def history(repro_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    project = repro_project.copy_to(tmp_path_factory.mktemp("report") / "project", with_store=False)
    base = commit_model(project, range(14))
    project.set_params(evaluate__mistakes=5)
    better = commit_model(project, [13, 14])
    similar = commit_model(project, [*range(11), 14])
    yield History(project, base, better, similar, commit_model(project, [*range(11), 14], images=-1))
    shutil.rmtree(project.folder)


def exact_p_value(won: int, lost: int) -> float:
    """The probability that a fair coin falls at least as unequally."""
    count = won + lost
    return sum(math.comb(count, fewer) for fewer in range(min(won, lost) + 1)) / 2.0 ** (count - 1)


def cells(text: str, name: str) -> list[str]:
    """The cells in the only table row of a parameter or metric."""
    (row,) = re.findall(rf"^\| {re.escape(name)} +\|(.*)\|$", text, re.MULTILINE)
    return [cell.strip() for cell in row.split("|")]


def test_the_report_shows_parameters_and_metrics_that_differ_and_whether_the_difference_is_significant(
    history: History,
) -> None:
    text = report(history.project, history.base, history.better)
    assert cells(text, "evaluate.mistakes") == ["16", "5"]
    assert "train.epochs" not in text
    headline, others = text.split("<details>")
    assert cells(headline, "test.accuracy") == ["0.61111", "0.94444", "0.33333"]
    assert cells(others, "test_answered.accuracy") == ["0.61111", "0.94444", "0.33333"]
    assert f"{history.base} has an accuracy of 61.11% and {history.better} of 94.44%: +33.33 percentage points" in text
    assert f"is statistically significant (McNemar's exact test, p = {exact_p_value(won=13, lost=1):.3g})" in text
    low, high = map(float, re.findall(r"interval ([+-][\d.]+) to ([+-][\d.]+)", text)[0])
    assert 0 < low < 33.33 < high


def test_a_small_difference_is_not_called_significant(history: History) -> None:
    text = report(history.project, history.base, history.similar)
    assert f"is not statistically significant (McNemar's exact test, p = {exact_p_value(won=3, lost=1):.3g})" in text


def test_models_tested_on_different_images_are_not_compared(history: History) -> None:
    text = report(history.project, history.similar)  # with HEAD
    assert "No parameter differs." in text
    assert "tested on different images" in text
    assert "significant" not in text


def test_predictions_that_were_not_pushed_are_named_and_the_rest_is_shown(history: History, tmp_path: Path) -> None:
    project, clone = history.project, Project(tmp_path / "clone")
    project.run("git", "clone", "--quiet", str(project.folder), str(clone.folder))
    text = report(clone, history.base, history.better)
    assert cells(text, "evaluate.mistakes") == ["16", "5"]
    assert cells(text, "test.accuracy")[:2] == ["0.61111", "0.94444"]
    assert f"predictions of {history.base} and {history.better} are not available here; `dvc push` uploads" in text
    project.run("dvc", "remote", "add", "--quiet", "--local", "--default", "store", str(tmp_path / "store"))
    project.run("dvc", "push", "--quiet", "--all-commits", "reports/evaluation")
    shutil.copy(project.folder / ".dvc/config.local", clone.folder / ".dvc")
    assert "is statistically significant" in report(clone, history.base, history.better)


def test_equal_commits_are_reported_as_unchanged(history: History) -> None:
    assert report(history.project, history.better, history.better).startswith("Nothing changed")


def test_an_unknown_commit_is_an_error_in_one_line(history: History) -> None:
    done = history.project.run("python", str(ROOT / ".github/report.py"), "missing", check=False)
    assert done.returncode == 1
    assert not done.stdout
    assert done.stderr.startswith("report: there is no commit missing here.")
    assert len(done.stderr.splitlines()) == 1
