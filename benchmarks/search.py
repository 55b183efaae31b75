"""Measure the overhead of a hyperparameter search: memory over many trials, and time per trial.

    python benchmarks/search.py [--trials 50]
    python benchmarks/search.py --trials 3 --images 20000 --epochs 5 --width 32 --baseline

Draws faces and runs a search like `dvc repro tune`. A trial's memory is the peak of its process; that of
the search is sampled when the trial starts. The overhead of a trial is the time since the end of the
previous trial, minus its training time. `--baseline` repeats the trainings in one process, without a
search, logs or checkpoints, and prints the overhead of the whole search.
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
ROWS = 10  # approximate number of trials in the table


def write_params(trials: int, images: int, epochs: int, width: int, path: Path) -> None:
    """Write the default parameters with these overrides."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["fetch"] |= {"images": images}
    content["train"] |= {"width": width}
    content["tune"] |= {"max_trials": trials, "epochs": epochs, "fraction": 1.0}
    path.write_text(yaml.safe_dump(content))


def train_baseline(folder: Path, trials: pd.DataFrame) -> float:
    """Repeat the trainings without a search; return the time in seconds."""
    load_tensorflow(trains=True)
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
    """Return the resident memory of a process in MiB; 0 if it has ended."""
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0


def trial_processes(search: psutil.Process) -> list[psutil.Process]:
    """The processes of a search's trials: children of the fork server."""
    try:
        servers = [child for child in search.children() if "forkserver" in " ".join(child.cmdline())]
        return [trial for server in servers for trial in server.children()]
    except psutil.NoSuchProcess:
        return []


def monitor_memory(search: "subprocess.Popen[str]", samples: dict[int, dict[str, float]]) -> None:
    """Sample the memory of the search and its trials, in order of start, until the search ends."""
    process = psutil.Process(search.pid)
    while search.poll() is None:
        for trial in trial_processes(process):
            memories = samples.setdefault(trial.pid, {"search": memory(process), "trial": 0.0})
            memories["trial"] = max(memories["trial"], memory(trial))
        time.sleep(0.05)


def main(trials: int = 50, images: int = 1000, epochs: int = 1, width: int = 8, baseline: bool = False) -> None:
    """Run the search and print some of the trials."""
    with tempfile.TemporaryDirectory() as folder:
        write_params(trials, images, epochs, width, Path(folder) / "params.yaml")
        shutil.copy(ROOT / "dvc.yaml", folder)
        (Path(folder) / "src").symlink_to(ROOT / "src")
        environment = os.environ | {"DVC_ROOT": folder, "MLFLOW_TRACKING_URI": "", "PYTHONPATH": str(ROOT / "src")}
        for stage in ("fetch", "preprocess"):
            subprocess.run([sys.executable, "-m", f"emotion.{stage}"], cwd=folder, env=environment, check=True)
        command = [sys.executable, "-m", "emotion.tune"]
        samples: dict[int, dict[str, float]] = {}
        start = time.monotonic()
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as search:
            monitor = threading.Thread(target=monitor_memory, args=(search, samples))
            monitor.start()
            assert search.stdout
            for line in search.stdout:
                print(line, end="", flush=True)
            monitor.join()
        search_seconds = time.monotonic() - start
        history = pd.read_csv(Path(folder) / "reports/trials.csv").sort_values("ended_after")
        baseline_seconds = train_baseline(Path(folder), history) if baseline else 0.0
    history["overhead"] = history["ended_after"].diff().fillna(history["ended_after"]) - history["training_seconds"]
    table = Table("trial", "search, MiB", "trial peak, MiB", "training, s", "overhead, s")
    rows = list(zip(history.to_dict("records"), samples.values(), strict=True))
    for trial, memories in rows[:: max(1, trials // ROWS)] + rows[-1:]:
        cells = [memories["search"], memories["trial"], trial["training_seconds"], trial["overhead"]]
        table.add_row(trial["trial"], *(f"{cell:,.1f}" for cell in cells))
    Console().print(table)
    if baseline:
        overhead = search_seconds / baseline_seconds - 1
        print(f"Search: {search_seconds:.1f} s. Trainings alone: {baseline_seconds:.1f} s. Overhead: {overhead:.1%}.")


if __name__ == "__main__":
    typer.run(main)
