"""Measure the time and peak memory of the preprocess stage, by dataset size.

    python benchmarks/preprocess.py ARCHIVE [REPETITIONS ...]

For each number of repetitions (1 and 10 by default), repeats the archive's images under other names, and
runs the whole stage, including its figures and its MLflow run, in a temporary folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from emotion.data.sources.archive import parse
from emotion.runtime.files import write_json

ROOT = Path(__file__).parents[1]


def repeat(source: Path, destination: Path, repetitions: int) -> int:
    """Write each labelled image `repetitions` times; return the number of images written."""
    count = 0
    with zipfile.ZipFile(source) as original, zipfile.ZipFile(destination, "w") as repeated:
        for name in filter(parse, original.namelist()):
            content = original.read(name)
            for index in range(repetitions):
                stem, suffix = name.rsplit(".", 1)
                repeated.writestr(f"{stem}_{index}.{suffix}", content)
                count += 1
    return count


def measure(archive: Path, folder: Path) -> tuple[float, float]:
    """The time in seconds and the peak memory in MiB of one run of the stage."""
    parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
    parameters["preprocess"]["protocol"] = "folders"
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters))
    (folder / "data/raw").mkdir(parents=True)
    archive.rename(folder / "data/raw/faces.zip")
    write_json(folder / "data/raw/source.json", {"source": "archive", "origin": archive.name, "sha256": "0" * 64})
    environment = {**os.environ, "DVC_ROOT": str(folder)}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "emotion.preprocess"], cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("the preprocess stage failed")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Run the benchmark and print the results."""
    archive, *repetitions = sys.argv[1:]
    table = Table("images", "time, s", "images/s", "peak memory, MiB")
    for count in map(int, repetitions or ["1", "10"]):
        folder = Path(tempfile.mkdtemp())
        try:
            images = repeat(Path(archive), folder / "repeated.zip", count)
            seconds, peak = measure(folder / "repeated.zip", folder)
        finally:
            shutil.rmtree(folder)
        table.add_row(f"{images:,}", f"{seconds:.1f}", f"{images / seconds:,.0f}", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
