"""The cost of a search beside its trainings: memory over many trials, and time per trial.

    python benchmarks/search.py [--trials 50]
    python benchmarks/search.py --trials 3 --images 20000 --epochs 5 --width 32 --directly

Draws faces and searches as `dvc repro tune` does. A trial's memory is the maximum of its process; that of
the search is sampled when the trial starts. The time beside training is the time since the end of the
previous trial, minus the training. `--directly` repeats the trainings in one process, without a search, logs
or checkpoints, and prints how much longer the search took.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import typer
import yaml
from rich.console import Console
from rich.table import Table

from emotion.data.dataset import open_dataset
from emotion.params.load import load_params
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

    params, dataset = load_params(folder / "params.yaml"), open_dataset(folder / "data/faces")
    train, validation = dataset.split("train"), dataset.split("validation")
    start = time.monotonic()
    for trial in trials.to_dict("records"):
        values = {name: trial[f"train.{name}"] for name in params.tune.space}
        keras.backend.clear_session()
        fit(params.train.override({**values, "epochs": params.tune.epochs}), train, validation)
    return time.monotonic() - start


def memory(process: psutil.Process) -> float:
    """The resident memory of a process in MiB; 0 if it has ended."""
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def trials_of(search: psutil.Process) -> list[psutil.Process]:
    """The trials of a search: children of the server process that they are forked from."""
    try:
        servers = [child for child in search.children() if "forkserver" in " ".join(child.cmdline())]
        return [trial for server in servers for trial in server.children()]
    except psutil.NoSuchProcess:
        return []


def watch(search: "subprocess.Popen[str]", seen: dict[int, dict[str, float]]) -> None:
    """Sample the memory of the search and its trials, in the order of their start, until the search ends."""
    process = psutil.Process(search.pid)
    while search.poll() is None:
        for trial in trials_of(process):
            memories = seen.setdefault(trial.pid, {"search": memory(process), "trial": 0.0})
            memories["trial"] = max(memories["trial"], memory(trial))
        time.sleep(0.05)


def main(trials: int = 50, images: int = 1000, epochs: int = 1, width: int = 8, directly: bool = False) -> None:
    """Search, and show some of the trials."""
    with tempfile.TemporaryDirectory() as folder:
        write_params(trials, images, epochs, width, Path(folder) / "params.yaml")
        shutil.copy(ROOT / "dvc.yaml", folder)
        (Path(folder) / "src").symlink_to(ROOT / "src")
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
