"""Train the classifier with the best hyperparameters and export it.

    python -m emotion.train

Reads data/faces/, models/hyperparameters.json and `params: train`, whose scalars the
hyperparameters override; writes models/classifier.keras, models/saved_model/,
models/run.json (the MLflow run), reports/history.csv and reports/curves.png. The state after
each epoch is kept in models/checkpoints/ until `evaluate`: a killed training goes on from it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotion import params
from emotion.data.dataset import Faces, Split, open_faces
from emotion.networks.calibration import choose_temperature
from emotion.runtime.errors import exit_cleanly
from emotion.runtime.paths import (
    CLASSIFIER,
    CURVES,
    HISTORY,
    HYPERPARAMETERS,
    SAVED_MODEL,
    TENSORBOARD,
    project_root,
    whole,
)
from emotion.runtime.tensorflow import load_tensorflow


def train(settings: params.Train, faces: Faces, record: dict[str, Any], checkpoints: Any) -> None:
    """Train, and save both forms of the model and the history."""
    from emotion.evaluation.figures import base as figures
    from emotion.networks.inference import at_temperature, export, serving_network
    from emotion.tracking import runs as tracking
    from emotion.tracking import stage_runs as records
    from emotion.training.trainer import fit, tensorboard_writer

    listeners: list[Callable[[dict[str, float]], None]] = [records.epoch_logger()]
    if settings.tensorboard:
        listeners.append(tensorboard_writer(project_root() / TENSORBOARD / record["run_id"]))
    validation = faces.split("validation")
    fitted = fit(settings, faces.split("train"), validation, listeners, checkpoints)
    network = serving_network(fitted.network, settings.views)
    temperature = choose_temperature(validation.labels, answers(network, validation))
    for key, value in {"precision": fitted.precision, "temperature": f"{temperature:.4f}"}.items():
        tracking.set_tag(key, value)
        record["tags"][key] = value
    with whole(CLASSIFIER) as part:
        fitted.network.save(part)
    with whole(SAVED_MODEL) as part:
        export(at_temperature(network, temperature), part)
    with whole(HISTORY) as part:
        fitted.history.to_csv(part, index=False)
    figures.curves(fitted.history, faces.caption, CURVES)
    best = fitted.rows[fitted.best_epoch - 1]
    print(f"Confidence is scaled with a temperature of {temperature:.2f}, fitted on validation.")
    print(f"Epoch {fitted.best_epoch} of {len(fitted.rows)} is kept: validation accuracy {best['val_accuracy']:.4f}")


def answers(network: Any, split: Split) -> NDArray[np.float32]:
    """Of the network as it ships, (n, 7)."""
    from emotion.training.input_pipeline import plain_batches

    return np.concatenate([network(images, training=False).numpy() for images, _ in plain_batches(split)])


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion.tracking import restore as restoring
    from emotion.tracking import stage_runs as records

    tuned = restoring.tuned()
    for name, value in tuned["values"].items():
        print(f"train.{name} = {value}, from {tuned['trial']}")
    settings = settings.with_hyperparameters(tuned["values"], str(HYPERPARAMETERS))
    faces = open_faces()
    load_tensorflow()
    from emotion.training.checkpoints import of_training

    checkpoints = of_training(records.parameters("train", settings))
    with checkpoints.held():
        with records.stage_run("train", settings, tuned["tags"], unfinished=checkpoints.run_id) as record:
            checkpoints.begin(record["run_id"])
            train(settings.train, faces, record, checkpoints)
            print(f"Faces: {faces.caption}")
        checkpoints.finish()


if __name__ == "__main__":
    exit_cleanly("train", main)
