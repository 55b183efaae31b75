"""The experiments of the project in MLflow.

Searches, trials and trainings are in the experiment that MLFLOW_EXPERIMENT_NAME names (default: emotion). What is no
experiment does not stand between them: datasets and promotions have experiments of their own.
"""

import os
from typing import Literal

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from emotion.runtime.errors import UserError

Purpose = Literal["training", "data", "promotions"]
DESCRIPTIONS: dict[Purpose, str] = {
    "training": "Trainings, and searches with their trials. The menu *Views* has a table or charts of each.",
    "data": "How `dvc repro` fetched and prepared the datasets.",
    "promotions": "The verdicts of `emotion promote`, and the history that `emotion history` shows.",
}


def experiment_name(purpose: Purpose) -> str:
    """The name of an experiment."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "emotion")
    return name if purpose == "training" else f"{name}-{purpose}"


def find_experiment(client: MlflowClient, purpose: Purpose) -> str | None:
    """The id of an experiment; None if there is none.

    Raises:
        UserError: if it was deleted.
    """
    name = experiment_name(purpose)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow's experiment {name} was deleted. Restore it with `mlflow experiments restore"
            f" -x {experiment.experiment_id}`, or choose another name in MLFLOW_EXPERIMENT_NAME."
        )
    return str(experiment.experiment_id)


def get_or_create_experiment(client: MlflowClient, purpose: Purpose, artifact_location: str | None) -> str:
    """The id of an experiment, which is created if there is none."""
    if known := find_experiment(client, purpose):
        return known
    # With the first tag, the UI shows the views for model training instead of those for language models.
    tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": DESCRIPTIONS[purpose]}
    try:
        return str(client.create_experiment(experiment_name(purpose), artifact_location, tags))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process created it meanwhile
            raise
    return str(client.get_experiment_by_name(experiment_name(purpose)).experiment_id)
