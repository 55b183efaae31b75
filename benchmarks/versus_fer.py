"""Compare the champion with the package `fer` on the same cropped faces: accuracy, speed, start-up, memory.

    python3.11 -m venv .venv/fer && .venv/fer/bin/pip install fer==25.10.3 'setuptools<80'
    python benchmarks/versus_fer.py [--faces data/faces] [--model MODEL] [--fer .venv/fer/bin/python]

Each row is measured in a separate process that classifies the test images of --faces, which are cropped
already; for fer, they are enlarged to 64x64, its input size. The start-up time is from the start of the
process to the first prediction. The model is also measured as a LiteRT export, without quantization and with
int8 quantization, which is calibrated with training images.
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
from emotion.inference import convert
from emotion.serving import model_source
from emotion.serving.predictor import Predictor

HERE = Path(__file__).parent


def measure(python: str, script: Path, *arguments: str) -> dict[str, float]:
    """Run a script that calls `crops.report`; return the results."""
    command = [python, str(script), str(time.time()), *arguments]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{completed.stderr}")
    result: dict[str, float] = json.loads(completed.stderr.splitlines()[-1])
    return result


def main(
    faces: Path = Path("data/faces"),
    model: Annotated[
        str | None, typer.Option(help="A model, as in `emotion predict --model`; by default the champion.")
    ] = None,
    fer: Annotated[Path, typer.Option(help="A Python interpreter with fer installed.")] = Path(".venv/fer/bin/python"),
) -> None:
    """Run the benchmark and print the results."""
    dataset = open_dataset(faces)
    test = dataset.split("test")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch, model_source.open_model(model) as bundle:
        crops = str(Path(scratch) / "crops.npz")
        np.savez(crops, images=test.images, labels=test.labels)
        for name in ("litert", "int8"):
            convert.convert(bundle.model, name, Path(scratch) / f"{name}.tflite", dataset)
        rows["fer, its default (LiteRT, 8 bits)"] = measure(str(fer), HERE / "fer_crops.py", crops, "litert")
        rows["fer, with Keras"] = measure(str(fer), HERE / "fer_crops.py", crops, "keras")
        litert, int8 = (str(Path(scratch) / f"{name}.tflite") for name in ("litert", "int8"))
        for name, path in {"SavedModel": str(bundle.model), "LiteRT": litert, "LiteRT, 8 bits": int8}.items():
            rows[f"{bundle.info.title}, {name}"] = measure(sys.executable, Path(__file__), crops, path)
    table = Table("classifier", *next(iter(rows.values())), title=f"{len(test)} test images, {dataset.caption}")
    for name, row in rows.items():
        table.add_row(name, *(f"{v:.3f}" if k == "accuracy" or "batch" in k else f"{v:,.1f}" for k, v in row.items()))
    Console(width=150).print(table)
    print("The batch columns are milliseconds per face.")


def measure_model() -> None:
    """Measure a model of this project: `versus_fer.py START CROPS.npz MODEL`."""
    start, crops, path = sys.argv[1:]

    def load() -> Classify:
        return Predictor.from_source(path).classify

    report(float(start), load, crops)


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1][0].isdigit():
        measure_model()
    else:
        typer.run(main)
