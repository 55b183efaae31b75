"""`emotion clean`: what is deleted, and what is kept."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from emotion.params.sections import Params
from emotion.registry.cleaning import Item, delete, find_old
from emotion.registry.promotion.promote import promote, rollback
from emotion.registry.registration import register
from emotion.registry.versions import get_version, list_versions
from emotion.tracking.client import connection, reset_connection
from emotion.tracking.queries import search_runs
from emotion.tracking.run import Run
from emotion.tracking.runs import end_run, get_or_create_child_run, start_run
from support.servers import mlflow_server
from support.versions import NAME, wrong_in

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # MLflow on its own wrapper of Keras


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the folder of this project, whose outputs are kept."""
    monkeypatch.chdir(tmp_path)


def names(items: list[Item]) -> set[str]:
    return {item.name for item in items}


def size_of_files(folder: Path) -> int:
    """All but the database."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("mlflow.db")]
    return sum(path.stat().st_size for path in files)


def search(objective: str, *scores: float) -> str:
    """A search with a trial per score."""
    with start_run("tune", {"stage": "tune"}, {"tune.objective": objective, "tune.max_trials": 9}) as run:
        for number, score in enumerate(scores):
            trial = get_or_create_child_run(f"t{number}", f"trial with {score}", {"stage": "trial"}, {}, run.id)
            Run(trial).log_metrics({"score": score})
            Run(trial).log_text("x" * 1000, "checkpoint.txt")
            end_run(trial, "FINISHED")
    return run.id


def test_only_versions_that_nothing_leads_to_are_found(add: Any, lenient: Params) -> None:
    for share in (0.3, 0.2, 0.1):
        promote(lenient, add(wrong_in(share)))
    rollback(NAME)  # 3 is neither champion nor previous, but the history names it
    promote(lenient, add(wrong_in(0.05)), to="challenger")
    forgotten = add(wrong_in(0.2))
    found = find_old(NAME, older_than_days=0, keep_best=0)
    assert [item.id for item in found if item.kind == "version"] == [forgotten]


def test_the_best_and_the_young_are_kept(add: Any) -> None:
    add(wrong_in(0.1), **{"test.accuracy": "0.9"})
    add(wrong_in(0.2), **{"test.accuracy": "0.8"})
    add(wrong_in(0.2), **{"test.accuracy": "damaged"})
    assert [item.id for item in find_old(NAME, 0, 1) if item.kind == "version"] == ["2", "3"]
    assert not find_old(NAME, older_than_days=1, keep_best=0)


@pytest.mark.parametrize(("objective", "best"), [("val_accuracy", 0.9), ("val_loss", 0.1)])
def test_trials_are_ranked_by_their_objective(mlflow_store: Path, objective: str, best: float) -> None:
    run_id = search(objective, 0.5, 0.9, 0.1)
    with start_run("train", {"stage": "train", "tune.run_id": run_id}, {}) as run:
        run.log_metrics({"test/accuracy": 0.9})
    found = find_old(NAME, older_than_days=0, keep_best=1)
    assert names(found) == {f"trial with {score}" for score in (0.5, 0.9, 0.1)} - {f"trial with {best}"}


def test_what_a_kept_run_leads_to_is_kept(mlflow_store: Path) -> None:
    run_id = search("val_accuracy", 0.5, 0.9)
    (trial,) = [run.id for run in search_runs(parent=run_id) if run.name == "trial with 0.5"]
    with start_run("train", {"stage": "train", "tune.run_id": run_id, "tune.trial_run_id": trial}, {}) as run:
        run.log_metrics({"test/accuracy": 0.9})
    assert not find_old(NAME, older_than_days=0, keep_best=1)
    search("val_accuracy", 0.3)  # nothing leads to it
    assert names(find_old(NAME, 0, 1)) == {"tune", "trial with 0.3"}


def test_a_logged_model_that_another_version_needs_is_kept(
    project: Path, registered_model: Path, tmp_path: Path
) -> None:
    with start_run("train", {"stage": "train"}, {}) as run:
        pass
    shutil.copy(registered_model / "classifier.keras", tmp_path / "classifier.keras")
    register(NAME, run.id, tmp_path / "classifier.keras", registered_model / "data/model", {})
    source = get_version(NAME, "1").source
    connection().client.create_model_version(NAME, source, run.id)
    connection().client.set_registered_model_alias(NAME, "champion", "2")
    (item,) = [item for item in find_old(NAME, 0, 0) if item.kind == "version"]
    assert (item.id, item.models, item.locations) == ("1", (), ())
    delete(NAME, [item])
    assert connection().client.get_logged_model(source.removeprefix("models:/"))


def test_the_runs_of_other_models_and_those_that_replaced_lost_ones_are_kept(
    add: Any, lenient: Params, project: Path
) -> None:
    number = add(wrong_in(0.1))
    promote(lenient, number)
    with start_run("train", {"stage": "train", "restored_from": get_version(NAME, number).run_id}, {}):
        pass
    with start_run("train", {"stage": "train"}, {}) as of_another_model:
        pass
    connection().client.create_registered_model("another")
    connection().client.create_model_version("another", str(project), of_another_model.id)
    assert not find_old(NAME, older_than_days=0, keep_best=0)


def test_files_outside_the_artifact_store_are_not_deleted(
    mlflow_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep me")
    delete(NAME, [Item("trial", search("val_accuracy", 0.5), "", 0, None, (str(precious), f"file://{precious}"))])
    assert (precious / "file").exists()
    assert "are outside" in capsys.readouterr().err


def test_running_runs_and_verdicts_are_kept(add: Any, lenient: Params) -> None:
    number = add(wrong_in(0.1))
    promote(lenient, number)
    with start_run("train", {"stage": "train"}, {}):
        assert not find_old(NAME, older_than_days=0, keep_best=0)


def test_deleting_frees_the_space(
    add: Any, lenient: Params, project: Path, registered_model: Path, tmp_path: Path
) -> None:
    promote(lenient, add(wrong_in(0.1)))
    with start_run("train", {"stage": "train"}, {}) as run:
        run.log_text("x" * 100_000, "large.txt")
    classifier = tmp_path / "classifier.keras"
    shutil.copy(registered_model / "classifier.keras", classifier)
    number = str(register(NAME, run.id, classifier, registered_model / "data/model", {}).version)
    source = Path(
        connection().client.get_logged_model(get_version(NAME, number).source.split("/")[-1]).artifact_location
    )
    search("val_accuracy", 0.5)
    found = find_old(NAME, older_than_days=0, keep_best=0)
    assert {item.kind for item in found} == {"version", "run", "trial"}
    before = size_of_files(project)
    assert source.exists()
    delete(NAME, found)
    assert before - size_of_files(project) == pytest.approx(sum(item.size for item in found), rel=0.02)
    assert not source.exists()
    assert set(list_versions(NAME)) == {"1"}
    assert not find_old(NAME, 0, 0)
    assert promote(lenient, "1").outcome == "UNCHANGED"


def test_files_on_a_server_are_deleted(
    tmp_path: Path, migrated_store: Path, warm_programs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mlflow_server(tmp_path / "server", migrated_store) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))
        reset_connection()
        search("val_accuracy", 0.5)
        found = find_old(NAME, older_than_days=0, keep_best=0)
        assert sum(item.size for item in found) >= 1000
        delete(NAME, found)
        assert not [path for path in (server.folder / "artifacts").rglob("*") if path.is_file()]
        assert not find_old(NAME, 0, 0)
    reset_connection()
