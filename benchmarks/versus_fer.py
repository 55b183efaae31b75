"""The champion beside the package `fer`, on the same crops: accuracy, time per face, start-up, memory.

    python3.11 -m venv .venv/fer && .venv/fer/bin/pip install fer==25.10.3 'setuptools<80'
    python benchmarks/versus_fer.py [--faces data/faces] [--model MODEL] [--fer .venv/fer/bin/python]

Every row is a process of its own that classifies the test images of --faces, cut out already; fer's are
enlarged to 64x64 as it does. Start-up is from the start of the process to the first answer. Exports the
model as LiteRT files first, whose ranges come from training images.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from crops import Classify, report
from rich.console import Console
from rich.table import Table

from emotion.data.dataset import open_dataset
from emotion.inference import convert as exporting
from emotion.serving import model_source as served
from emotion.serving.predictor import Predictor

HERE = Path(__file__).parent


def measured(python: str, script: Path, *arguments: str) -> dict[str, float]:
    """What a row's process printed."""
    command = [python, str(script), str(time.time()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return result


def main(
    faces: Path = Path("data/faces"),
    model: Annotated[str | None, typer.Option(help="As `emotion predict --model`; the champion.")] = None,
    fer: Annotated[Path, typer.Option(help="A Python that has fer.")] = Path(".venv/fer/bin/python"),
) -> None:
    """Measure and show."""
    opened = open_dataset(faces)
    test = opened.split("test")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch, served.open_model(model) as it:
        crops = str(Path(scratch) / "crops.npz")
        np.savez(crops, images=test.images, labels=test.labels)
        for name in ("litert", "int8"):
            exporting.convert(it.model, name, Path(scratch) / f"{name}.tflite", opened)
        rows["fer, its default (LiteRT, 8 bits)"] = measured(str(fer), HERE / "fer_crops.py", crops, "litert")
        rows["fer, with Keras"] = measured(str(fer), HERE / "fer_crops.py", crops, "keras")
        litert, int8 = (str(Path(scratch) / f"{name}.tflite") for name in ("litert", "int8"))
        for name, path in {"SavedModel": str(it.model), "LiteRT": litert, "LiteRT, 8 bits": int8}.items():
            rows[f"{it.info.title}, {name}"] = measured(sys.executable, Path(__file__), crops, path)
    table = Table("on the same crops", *next(iter(rows.values())), title=f"{len(test)} test images, {opened.caption}")
    for name, row in rows.items():
        table.add_row(name, *(f"{v:.3f}" if k == "accuracy" or "once" in k else f"{v:,.1f}" for k, v in row.items()))
    Console(width=150).print(table)
    print("Times per face in milliseconds, by how many are asked about at once.")


def ours() -> None:
    """A row: `versus_fer.py START CROPS.npz MODEL`."""
    start, crops, path = sys.argv[1:]

    def load() -> Classify:
        return Predictor.from_source(path).classify

    report(float(start), load, crops)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1][0].isdigit():
        ours()
    else:
        typer.run(main)
