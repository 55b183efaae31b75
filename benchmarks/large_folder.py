"""Measure the time and peak memory of `fetch` and `preprocess` for a folder of images, by its size.

    python benchmarks/large_folder.py ARCHIVE [REPETITIONS ...]

For each number of repetitions (1 and 10 by default), writes the archive's images under other names to a temporary
folder, and runs both stages there, including their figures and MLflow runs. The last column is the rate at which
Pillow alone decodes the same images, which bounds that of `preprocess`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from emotion.data.layouts.source import open_source
from emotion.data.layouts.words import LabelMap
from emotion.data.preparation.images import load_face
from emotion.data.sources.files import read_bytes

ROOT = Path(__file__).parents[1]
SHAPE = (48, 48, 1)
SAMPLE = 20_000  # images that are decoded alone


def repeat(source: Path, folder: Path, repetitions: int) -> tuple[int, float]:
    """Write each labelled image `repetitions` times; return their number, and the images decoded per second."""
    with open_source(source, LabelMap(), source.name) as opened:
        names = list(opened.recognized.faces["name"])
        contents = {name: read_bytes(opened.files, name) for name in names}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for index in range(repetitions):
            path.with_stem(f"{path.stem}_{index}").write_bytes(content)
    start = time.perf_counter()
    for name in names[:SAMPLE]:
        load_face(contents[name], SHAPE)
    return len(names) * repetitions, len(names[:SAMPLE]) / (time.perf_counter() - start)


def measure(stage: str, folder: Path) -> tuple[float, float]:
    """The time in seconds and the peak memory in MiB of one run of a stage."""
    environment = {**os.environ, "DVC_ROOT": str(folder)}
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", f"emotion.{stage}"], cwd=folder, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"the stage {stage} failed")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Run the benchmark and print the results."""
    archive, *repetitions = sys.argv[1:]
    table = Table("images", "stage", "time, s", "images/s", "peak memory, MiB", "decoding alone, images/s")
    for count in map(int, repetitions or ["1", "10"]):
        folder = Path(tempfile.mkdtemp())
        try:
            images, rate = repeat(Path(archive), folder / "faces", count)
            parameters = yaml.safe_load((ROOT / "params.yaml").read_text())
            parameters["fetch"] |= {"source": "path", "path": str(folder / "faces")}
            (folder / "params.yaml").write_text(yaml.safe_dump(parameters, allow_unicode=True))
            (folder / "data/raw").mkdir(parents=True)
            for stage in ("fetch", "preprocess"):
                seconds, peak = measure(stage, folder)
                table.add_row(
                    f"{images:,}", stage, f"{seconds:.1f}", f"{images / seconds:,.0f}", f"{peak:.0f}", f"{rate:,.0f}"
                )
        finally:
            shutil.rmtree(folder)
    Console().print(table)


if __name__ == "__main__":
    main()
