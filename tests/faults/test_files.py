"""Files that a command reads and that are damaged."""

import random
import shutil
from pathlib import Path

import pytest

from support.faults import STAGES, Place, cases, damage_file, stage

DAMAGES = ("missing", "empty", "cut", "random bytes", "another format", "a folder")
DRY_RUN = ("emotion", "promote", "1", "--dry-run")
PREDICT = ("emotion", "predict", "data/face.png", "--no-detect")
TRIALS, RESTORE = ("emotion", "trials"), ("emotion", "restore")
READERS = {  # by a pattern of files
    "params.yaml": (stage("fetch"), stage("train"), DRY_RUN, PREDICT),
    "dvc.yaml": (("emotion", "doctor"), ("dvc", "repro"), stage("train")),
    "dvc.lock": (DRY_RUN, RESTORE, ("emotion", "doctor")),
    "data/raw/faces.zip": (stage("preprocess"),),
    "data/raw/source.json": (stage("preprocess"), RESTORE),
    "data/faces/images.npy": (stage("train"), stage("evaluate"), DRY_RUN),
    "data/faces/index.csv": (stage("tune"), stage("evaluate"), DRY_RUN),
    "data/faces/dataset.json": (stage("train"), stage("evaluate"), DRY_RUN),
    "models/hyperparameters.json": (stage("train"),),
    "models/classifier.keras": (stage("register"), RESTORE),
    "models/saved_model/saved_model.pb": (stage("evaluate"), stage("register"), RESTORE),
    "models/saved_model/variables/variables.index": (stage("evaluate"), stage("register")),
    "models/saved_model/fingerprint.pb": (stage("evaluate"),),
    "models/registered.json": (("dvc", "repro"),),
    "reports/history.csv": (RESTORE,),
    "reports/evaluation/scores.json": (stage("register"), RESTORE),
    "reports/speed.json": (RESTORE,),
    "reports/trials.csv": (RESTORE,),
    **{f"reports/runs/{name}.json": (RESTORE,) for name in ("fetch", "preprocess", "tune", "train")},
    "mlflow.db": (("emotion", "history"), TRIALS, PREDICT, stage("fetch")),
    "mlartifacts/models/*/artifacts/MLmodel": (PREDICT, DRY_RUN, ("emotion", "space", "data/space")),
    "mlartifacts/models/*/artifacts/data/model/saved_model.pb": (PREDICT, DRY_RUN),
    "mlartifacts/**/*.csv": (("emotion", "compare", "trial-000", "trial-001"),),
    "data/face.png": (PREDICT,),
}
PAIRS = tuple((pattern, command) for pattern, commands in READERS.items() for command in commands)


@pytest.mark.parametrize(("pair", "damage"), cases("files", PAIRS, DAMAGES))
def test_a_damaged_file_is_reported_in_one_line_and_nothing_is_lost(
    pair: tuple[str, tuple[str, ...]], damage: str, place: Place
) -> None:
    pattern, command = pair
    random_numbers = random.Random(f"{pattern} {command} {damage}")
    place.add_face("data/face.png")
    if command in (RESTORE, stage("register")) and not pattern.startswith("ml"):
        place.lose_store()
    path = random_numbers.choice(sorted(place.project.folder.glob(pattern)))
    backup = shutil.copy2(path, place.folder.with_name(f"{place.folder.name}-backup"))
    before = place.state if pattern != "mlflow.db" else None
    damage_file(path, damage, random_numbers)
    done = place.attempt(*command)
    if before:
        assert set(before["versions"]) <= set(place.state["versions"])  # type: ignore[call-overload]
    is_output = command[-1].removeprefix("emotion.") in STAGES and path.name in ("registered.json",)
    if done.returncode and not is_output:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for log in path.parent.glob(f"{path.name}-*"):  # SQLite's, of the damaged file
            log.unlink()
        shutil.move(backup, path)
        place.succeed(*command)
    Path(backup).unlink(missing_ok=True)
    place.assert_tidy()
