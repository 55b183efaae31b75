"""Load-test the demo: concurrent clients, each of which uploads one image after another.

    emotion demo --port 7860 &
    python benchmarks/load.py [--clients 50] [--seconds 60] [--image FILE] [--cropped]

Prints the number and latency of the requests by outcome (answered, rejected because the queue is full, or
failed), and the demo's memory every ten seconds.
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


def demo_memory(port: int) -> float:
    """The resident memory of the local demo on this port, in MiB."""
    for status in Path("/proc").glob("[0-9]*/status"):
        command = (status.parent / "cmdline").read_bytes()
        if b"demo\0" in command and str(port).encode() in command:
            return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024
    raise SystemExit(f"`emotion demo --port {port}` is not running on this machine")


def send_request(address: str, content: bytes, kind: str) -> tuple[str, float]:
    """Upload an image and request a prediction; return the outcome and the latency in seconds."""
    start = time.monotonic()
    try:
        uploaded = requests.post(
            f"{address}/gradio_api/upload", files={"files": ("face.png", content)}, timeout=60
        ).json()[0]
        payload: list[Any] = [{"path": uploaded, "meta": {"_type": "gradio.FileData"}}, kind, "champion"]
        response = requests.post(f"{address}/gradio_api/call/predict", json={"data": payload}, timeout=60)
        text = response.text
        if response.ok:
            event = response.json()["event_id"]
            text = requests.get(f"{address}/gradio_api/call/predict/{event}", timeout=120).text
    except requests.RequestException as error:
        text = type(error).__name__
    outcome = "answered" if '"faces"' in text else "queue full" if "ueue is full" in text else text[:100]
    return outcome, time.monotonic() - start


def main(
    clients: int = 50,
    seconds: int = 60,
    port: int = 7860,
    image: Annotated[Path | None, typer.Option(help="The image to upload; by default a portrait of 512 x 512.")] = None,
    cropped: Annotated[bool, typer.Option("--cropped", help="The image is a cropped face.")] = False,
) -> None:
    """Run the load test and print the results."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(buffer, "PNG")
    content = image.read_bytes() if image else buffer.getvalue()
    outcomes: list[tuple[str, float]] = []
    deadline = time.monotonic() + seconds

    def client() -> None:
        while time.monotonic() < deadline:
            outcome = send_request(f"http://127.0.0.1:{port}", content, CROPPED if cropped else PHOTO)
            outcomes.append(outcome)
            time.sleep(1 if outcome[0] == "queue full" else 0)

    send_request(f"http://127.0.0.1:{port}", content, CROPPED if cropped else PHOTO)
    threads = [threading.Thread(target=client) for _ in range(clients)]
    memory = [demo_memory(port)]
    for thread in threads:
        thread.start()
    while time.monotonic() < deadline:
        time.sleep(10)
        memory.append(demo_memory(port))
    for thread in threads:
        thread.join()
    for outcome in sorted({name for name, _ in outcomes}):
        times = [seconds for name, seconds in outcomes if name == outcome]
        median, p95 = np.percentile(times, [50, 95])
        print(f"{outcome}: {len(times)}, median {median:.1f} s, 95th percentile {p95:.1f} s")
    print(f"memory, MiB: {', '.join(f'{mib:.0f}' for mib in memory)}")


if __name__ == "__main__":
    typer.run(main)
