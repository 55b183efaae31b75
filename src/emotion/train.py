"""Train the classifier with the best hyperparameters and export it.

    python -m emotion.train

Reads data/faces/, models/hyperparameters.json and `params: train`, whose scalars the
hyperparameters override; writes models/classifier.keras, models/saved_model/,
models/run.json (the MLflow run), reports/history.csv and reports/curves.png.
"""

import pandas as pd

from emotion import params
from emotion.errors import exit_cleanly
from emotion.faces import Faces, open_faces
from emotion.paths import CLASSIFIER, CURVES, HISTORY, SAVED_MODEL, TENSORBOARD, project_root, whole
from emotion.runtime import load_tensorflow


def train(settings: params.Train, faces: Faces, run_id: str) -> pd.DataFrame:
    """Train, save both forms of the model, and return a row per epoch."""
    load_tensorflow()
    import keras

    from emotion import figures, tracking
    from emotion.training.recipe import fit

    log_epoch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: tracking.log_metrics(logs, step=epoch + 1)
    )
    callbacks = [log_epoch]
    if settings.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(project_root() / TENSORBOARD / run_id))
    network, metrics = fit(settings, faces.split("train"), faces.split("validation"), callbacks)
    history = pd.DataFrame(metrics)
    history.insert(0, "epoch", history.index + 1)
    with whole(CLASSIFIER) as part:
        network.save(part)
    with whole(SAVED_MODEL) as part:
        network.export(part, verbose=False)
    with whole(HISTORY) as part:
        history.to_csv(part, index=False)
    figures.curves(history, faces.caption, CURVES)
    return history


def main() -> None:
    """The stage."""
    settings = params.load()
    from emotion import records

    tuned = records.tuned()
    for name, value in tuned["values"].items():
        print(f"train.{name} = {value}, from {tuned['trial']}")
    settings = settings.model_copy(update={"train": settings.train.override(tuned["values"])})
    with records.stage_run("train", settings, tuned["tags"]) as record:
        faces = open_faces()
        history = train(settings.train, faces, record["run_id"])
        scores = history[settings.train.select]
        best = scores.argmax() if settings.train.select == "val_accuracy" else scores.argmin()
        accuracy = history["val_accuracy"].iloc[best]
        print(f"Epoch {best + 1} of {len(history)} is kept: validation accuracy {accuracy:.4f}")
        print(f"Faces: {faces.caption}")


if __name__ == "__main__":
    exit_cleanly("train", main)
