"""A repeated search with the same result does not retrain, and versions still lead to a trial."""

import shutil
from pathlib import Path

from mlflow.entities import Run

from emotion.registry.model_card.exports import COLUMNS, FILE_NAME
from support.project import MODEL, Project


def trial_of_the_version(project: Project) -> tuple[Run, Run]:
    """The training run of version 1, and the trial that its hyperparameters come from."""
    train = project.client.get_run(project.client.get_model_version(MODEL, "1").run_id)
    return train, project.client.get_run(train.data.tags["tune.trial_run_id"])


def test_a_search_with_the_same_result_does_not_retrain(
    logged_project: Project, migrated_store: Path, tmp_path: Path
) -> None:
    project = logged_project
    before, trial_before = trial_of_the_version(project)
    values = (project.folder / "models/hyperparameters.json").read_text()
    project.run("dvc", "repro", "--force", "--single-item", "tune")
    assert len(project.runs("tags.stage = 'tune'")) == 2
    assert (project.folder / "models/hyperparameters.json").read_text() == values
    said = project.run("dvc", "repro").stdout
    assert "Running stage" not in said
    train, trial = trial_of_the_version(project)
    assert (train.info.run_id, trial.info.run_id) == (before.info.run_id, trial_before.info.run_id)

    # The first search is lost with the store; only the second one can be restored.
    elsewhere = project.copy_to(tmp_path / "elsewhere", with_store=False)
    shutil.copy(migrated_store, elsewhere.folder / "mlflow.db")
    (elsewhere.folder / "models/model_card" / FILE_NAME).write_text(f"{','.join(COLUMNS)}\nfast,SavedModel,2.5,1,0.5\n")
    elsewhere.run("emotion", "restore")
    train, trial = trial_of_the_version(elsewhere)
    card = elsewhere.client.download_artifacts(train.info.run_id, "model_card/model_card.md", str(tmp_path))
    assert "### Exported files" in Path(card).read_text()
    assert train.data.tags["restored"] == "true"
    assert trial.data.tags["mlflow.parentRunId"] == train.data.tags["tune.run_id"]
    for name in ("train.learning_rate", "train.dropout"):
        assert float(trial.data.params[name]) == float(train.data.params[name])
