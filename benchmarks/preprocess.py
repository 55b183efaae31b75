"""Time and peak memory of the preprocess stage, on an archive and on several times as much.

    python benchmarks/preprocess.py ARCHIVE [TIMES ...]

Repeats the archive's images under other names, runs the whole stage (with its figures and its
MLflow run) in a temporary folder for each size, and prints a table.
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


def repeat(source: Path, destination: Path, times: int) -> int:
    """Write every labelled image `times` times; return how many that are."""
    count = 0
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(destination, "w") as copy:
        for name in filter(parse, whole.namelist()):
            content = whole.read(name)
            for number in range(times):
                stem, suffix = name.rsplit(".", 1)
                copy.writestr(f"{stem}_{number}.{suffix}", content)
                count += 1
    return count


def measure(archive: Path, folder: Path) -> tuple[float, float]:
    """Seconds and peak MiB of one run of the stage."""
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
        sys.exit("the stage failed")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Measure every size."""
    source, *sizes = sys.argv[1:]
    table = Table("images", "seconds", "images/s", "peak MiB")
    for times in map(int, sizes or ["1", "10"]):
        folder = Path(tempfile.mkdtemp())
        try:
            images = repeat(Path(source), folder / "repeated.zip", times)
            seconds, peak = measure(folder / "repeated.zip", folder)
        finally:
            shutil.rmtree(folder)
        table.add_row(f"{images:,}", f"{seconds:.1f}", f"{images / seconds:,.0f}", f"{peak:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
