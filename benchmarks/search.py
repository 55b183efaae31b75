"""What a search costs beside its training: memory over many trials, and time per trial.

    python benchmarks/search.py [--trials 50]
    python benchmarks/search.py --trials 3 --images 20000 --epochs 5 --width 32 --directly

Draws faces and searches as `dvc repro tune` does. A trial's memory is the most that its process
had; that of the search is read when that process starts. Time is what a trial took from the end
of the one before it, less its training. `--directly` trains the same again in one process, without
a search, a log or a checkpoint, and says how much longer the search took.
"""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import typer
import yaml
from rich.console import Console
from rich.table import Table

from emotion import params
from emotion.data.dataset import open_faces
from emotion.runtime.tensorflow import load_tensorflow

ROOT = Path(__file__).parents[1]
ROWS = 10  # of the table


def write_params(trials: int, images: int, epochs: int, width: int, path: Path) -> None:
    """The shipped parameters, but for these."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["fetch"] |= {"images": images}
    content["train"] |= {"width": width}
    content["tune"] |= {"max_trials": trials, "epochs": epochs, "fraction": 1.0}
    path.write_text(yaml.safe_dump(content))


def train_directly(folder: Path, trials: pd.DataFrame) -> float:
    """Seconds of the same trainings without a search."""
    load_tensorflow()
    import keras

    from emotion.training.trainer import fit

    settings, faces = params.load(folder / "params.yaml"), open_faces(folder / "data/faces")
    train, validation = faces.split("train"), faces.split("validation")
    start = time.monotonic()
    for trial in trials.to_dict("records"):
        values = {name: trial[f"train.{name}"] for name in settings.tune.space}
        keras.backend.clear_session()
        fit(settings.train.override({**values, "epochs": settings.tune.epochs}), train, validation)
    return time.monotonic() - start


def memory(process: int, key: str) -> float:
    """MiB of a process: VmRSS (now) or VmHWM (at most so far); 0 where it has ended."""
    try:
        found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        found = None
    return int(found[1]) / 1024 if found else 0.0


def trials_of(process: int) -> list[int]:
    """The trials of a search: copies of the process that it has started."""
    return [copy for child in children(process) for copy in children(child)]


def children(process: int) -> list[int]:
    """The processes that a process has started and that belong to trials."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return [child for child in found if "emotion.tuning.trial" in Path(f"/proc/{child}/cmdline").read_text()]


def watch(search: "subprocess.Popen[str]", seen: dict[int, dict[str, float]]) -> None:
    """Look at the search's processes, in the order of their start, until it ends."""
    while search.poll() is None:
        try:
            for child in trials_of(search.pid):
                memories = seen.setdefault(child, {"search": memory(search.pid, "VmRSS"), "trial": 0.0})
                memories["trial"] = max(memories["trial"], memory(child, "VmHWM"))
        except OSError:
            pass  # it ended just now
        time.sleep(0.05)


def main(trials: int = 50, images: int = 1000, epochs: int = 1, width: int = 8, directly: bool = False) -> None:
    """Search, and show some of the trials."""
    with tempfile.TemporaryDirectory() as folder:
        write_params(trials, images, epochs, width, Path(folder) / "params.yaml")
        environment = os.environ | {"DVC_ROOT": folder, "MLFLOW_TRACKING_URI": "", "PYTHONPATH": str(ROOT / "src")}
        for stage in ("fetch", "preprocess"):
            subprocess.run([sys.executable, "-m", f"emotion.{stage}"], cwd=folder, env=environment, check=True)
        command = [sys.executable, "-m", "emotion.tune"]
        seen: dict[int, dict[str, float]] = {}
        start = time.monotonic()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as search:
            watcher = threading.Thread(target=watch, args=(search, seen))
            watcher.start()
            assert search.stdout
            for line in search.stdout:
                print(line, end="", flush=True)
            watcher.join()
        searched = time.monotonic() - start
        table = pd.read_csv(Path(folder) / "reports/trials.csv").sort_values("ended_after")
        trained = train_directly(Path(folder), table) if directly else 0.0
    table["beside"] = table["ended_after"].diff().fillna(table["ended_after"]) - table["training_seconds"]
    shown = Table("trial", "search, MiB", "trial's most, MiB", "training, s", "beside it, s")
    rows = list(zip(table.to_dict("records"), seen.values(), strict=True))
    for trial, memories in rows[:: max(1, trials // ROWS)] + rows[-1:]:
        cells = [memories["search"], memories["trial"], trial["training_seconds"], trial["beside"]]
        shown.add_row(trial["trial"], *(f"{cell:,.1f}" for cell in cells))
    Console().print(shown)
    if directly:
        print(f"The search took {searched:.1f} s, its trainings alone {trained:.1f} s: {searched / trained - 1:+.1%}")


if __name__ == "__main__":
    typer.run(main)
