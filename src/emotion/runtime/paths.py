"""Where each stage leaves what it makes, as in dvc.yaml."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RAW = Path("data/raw")
ARCHIVE = RAW / "faces.zip"
SOURCE = RAW / "source.json"
FETCH_RUN = RAW / "run.json"
DOWNLOADS = Path("data/downloads")  # outlives the stage, so that a cut download can go on

FACES = Path("data/faces")
DATA_REPORT = Path("reports/data")
PREPROCESS_RUN = DATA_REPORT / "run.json"

HYPERPARAMETERS = Path("models/hyperparameters.json")
TRIALS = Path("reports/trials.csv")
TUNING = Path("reports/tuning")

JOURNAL = Path("models/journal")  # what a tracking server did not take yet
CHECKPOINTS = Path("models/checkpoints")  # outlives the stage, so that a killed training can go on
CLASSIFIER = Path("models/classifier.keras")
SAVED_MODEL = Path("models/saved_model")
TRAIN_RUN = Path("models/run.json")
HISTORY = Path("reports/history.csv")
CURVES = Path("reports/curves.png")
TENSORBOARD = Path("reports/tensorboard")

METRICS = Path("reports/metrics.json")
SPEED = Path("reports/speed.json")
EVALUATION = Path("reports/evaluation")

REGISTERED = Path("models/registered.json")
MODEL_CARD = Path("models/model_card")


def project_root() -> Path:
    """The folder of dvc.yaml; the original's where DVC runs an experiment in a copy.

    DVC_ROOT is set by DVC for every stage. Elsewhere the folders above are searched.
    """
    if "DVC_ROOT" in os.environ:
        return Path(os.environ["DVC_ROOT"])
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").exists()), here)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file or folder, which then takes its place whole.

    Where writing fails, nothing is left and what was at `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"part-{path.name}")
    _remove(part)
    try:
        yield part
        if part.is_dir():
            _remove(path)  # a folder cannot be replaced in one step
        part.replace(path)
    finally:
        _remove(part)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a small file whole or not at all."""
    with whole(path) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
