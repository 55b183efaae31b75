"""Train the classifier with the best hyperparameters and export it.

    python -m emotion.train

Reads data/faces/, models/hyperparameters.json and `params: train`, whose scalars the
hyperparameters override; writes models/classifier.keras, models/saved_model/,
models/run.json (the MLflow run), reports/history.csv and reports/curves.png. Every epoch is
kept in models/checkpoints/ until then: a training that was killed goes on from the last.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from emotion import params
from emotion.errors import exit_cleanly
from emotion.faces import Faces, open_faces
from emotion.paths import CLASSIFIER, CURVES, HISTORY, HYPERPARAMETERS, SAVED_MODEL, TENSORBOARD, project_root, whole
from emotion.runtime import load_tensorflow


def train(settings: params.Train, faces: Faces, record: dict[str, Any], checkpoints: Any) -> pd.DataFrame:
    """Train, save both forms of the model, and return a row per epoch."""
    from emotion import figures, records, tracking
    from emotion.networks.serving import serving_network
    from emotion.training.recipe import fit, tensorboard_writer

    listeners: list[Callable[[dict[str, float]], None]] = [records.epoch_logger()]
    if settings.tensorboard:
        listeners.append(tensorboard_writer(project_root() / TENSORBOARD / record["run_id"]))
    kept = {"run_id": record["run_id"]}
    fitted = fit(settings, faces.split("train"), faces.split("validation"), listeners, checkpoints, kept)
    tracking.set_tag("precision", fitted.precision)
    with whole(CLASSIFIER) as part:
        fitted.network.save(part)
    with whole(SAVED_MODEL) as part:
        serving_network(fitted.network, settings.views).export(part, verbose=False)
    with whole(HISTORY) as part:
        fitted.history.to_csv(part, index=False)
    figures.curves(fitted.history, faces.caption, CURVES)
    return fitted.history


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion import records

    tuned = records.tuned()
    for name, value in tuned["values"].items():
        print(f"train.{name} = {value}, from {tuned['trial']}")
    settings = settings.with_hyperparameters(tuned["values"], str(HYPERPARAMETERS))
    faces = open_faces()
    load_tensorflow()
    from emotion.training.checkpoints import of_training

    checkpoints = of_training(records.parameters("train", settings))
    with records.stage_run("train", settings, tuned["tags"], checkpoints.fact("run_id")) as record:
        history = train(settings.train, faces, record, checkpoints)
        scores = history[settings.train.select]
        best = scores.argmax() if settings.train.select == "val_accuracy" else scores.argmin()
        accuracy = history["val_accuracy"].iloc[best]
        print(f"Epoch {best + 1} of {len(history)} is kept: validation accuracy {accuracy:.4f}")
        print(f"Faces: {faces.caption}")
    checkpoints.clear()


if __name__ == "__main__":
    exit_cleanly("train", main)
