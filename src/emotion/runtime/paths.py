"""Where each stage writes its outputs, as in dvc.yaml."""

import os
from pathlib import Path

RAW = Path("data/raw")
ARCHIVE = RAW / "faces.zip"
FACES = RAW / "faces.csv"  # what the label of each image in the archive means
SOURCE = RAW / "source.json"
DOWNLOADS = Path("data/downloads")  # survives the stage, so that an interrupted download can continue

CORRECTIONS = Path("data/corrections.csv")  # of labels; part of the repository
DATASET = Path("data/faces")
DATA_REPORT = Path("reports/data")

HYPERPARAMETERS = Path("models/hyperparameters.json")
TRIALS = Path("reports/trials.csv")
SEARCH_FIGURES = Path("reports/tuning")

OUTBOX = Path("models/outbox")  # what could not be logged to the tracking server yet
CHECKPOINTS = Path("models/checkpoints")  # survives the stage, so that a killed training run can continue
FINISHED_SEARCHES = Path("models/searches")  # the finished trials, which a larger search continues with
CLASSIFIER = Path("models/classifier.keras")
SAVED_MODEL = Path("models/saved_model")
HISTORY = Path("reports/history.csv")
TRAINING_CURVES = Path("reports/curves.png")
NETWORK = Path("reports/network")  # a diagram, and a table of the layers
LAYERS = NETWORK / "layers.csv"
TENSORBOARD = Path("reports/tensorboard")

METRICS = Path("reports/metrics.json")  # the headline figures
SPEED = Path("reports/speed.json")
EVALUATION = Path("reports/evaluation")
SCORES = EVALUATION / "scores.json"  # all scores

REVIEW = Path("reports/review")  # of the labels, by `emotion data review`

REGISTERED = Path("models/registered.json")
MODEL_CARD = Path("models/model_card")

RUN_RECORDS = Path("reports/runs")  # the MLflow run of each stage; no stage depends on them


def project_root() -> Path:
    """The folder of dvc.yaml; in an experiment's temporary copy, the original project's.

    DVC sets DVC_ROOT for every stage. Without it, the current folder and its parents are searched.
    """
    if "DVC_ROOT" in os.environ:
        return Path(os.environ["DVC_ROOT"])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").exists()), here)
