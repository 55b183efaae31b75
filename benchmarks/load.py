"""The demo under load: so many clients at once, each sending a picture after another.

    emotion demo --port 7860 &
    python benchmarks/load.py [--clients 50] [--seconds 60] [--picture FILE] [--cut]

Prints how many were answered and how many were told that it is busy, how long answers took, and the
demo's memory every ten seconds.
"""

import io
import threading
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import requests
import skimage.data
import typer
from PIL import Image

from emotion.serving.demo.app import CROPPED, PHOTO


def memory_of(port: int) -> float:
    """MiB of the demo on a port of this machine."""
    for status in Path("/proc").glob("[0-9]*/status"):
        command = (status.parent / "cmdline").read_bytes()
        if b"demo\0" in command and str(port).encode() in command:
            return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024
    raise SystemExit(f"no `emotion demo --port {port}` on this machine")


def ask(address: str, content: bytes, kind: str) -> tuple[str, float]:
    """Upload and ask; what came of it, and the seconds it took."""
    start = time.monotonic()
    try:
        uploaded = requests.post(
            f"{address}/gradio_api/upload", files={"files": ("face.png", content)}, timeout=60
        ).json()[0]
        payload: list[Any] = [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, kind, "champion"]
        began = requests.post(f"{address}/gradio_api/call/predict", json={"data": payload}, timeout=60)
        text = began.text
        if began.ok:
            event = began.json()["event_id"]
            text = requests.get(f"{address}/gradio_api/call/predict/{event}", timeout=120).text
    except requests.RequestException as error:
        text = type(error).__name__
    said = "answered" if '"faces"' in text else "busy" if "ueue is full" in text else text[:100]
    return said, time.monotonic() - start


def main(
    clients: int = 50,
    seconds: int = 60,
    port: int = 7860,
    picture: Annotated[Path | None, typer.Option(help="A portrait of 512 x 512, where none is given.")] = None,
    cut: Annotated[bool, typer.Option("--cut", help="The picture is a face already.")] = False,
) -> None:
    """Measure and print."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(buffer, "PNG")
    content = picture.read_bytes() if picture else buffer.getvalue()
    said: list[tuple[str, float]] = []
    ends = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < ends:
            outcome = ask(f"http://127.0.0.1:{port}", content, CROPPED if cut else PHOTO)
            said.append(outcome)
            time.sleep(1 if outcome[0] == "busy" else 0)

    ask(f"http://127.0.0.1:{port}", content, CROPPED if cut else PHOTO)
    threads = [threading.Thread(target=client) for _ in range(clients)]
    memory = [memory_of(port)]
    for thread in threads:
        thread.start()
    while time.monotonic() < ends:
        time.sleep(10)
        memory.append(memory_of(port))
    for thread in threads:
        thread.join()
    for outcome in sorted({name for name, _ in said}):
        times = [took for name, took in said if name == outcome]
        median, most = np.percentile(times, [50, 95])
        print(f"{outcome}: {len(times)}, median {median:.1f} s, 95 % within {most:.1f} s")
    print(f"memory, MiB: {', '.join(f'{it:.0f}' for it in memory)}")


if __name__ == "__main__":
    typer.run(main)
