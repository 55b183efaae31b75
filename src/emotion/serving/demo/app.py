"""The web demo: a picture in, its faces with their emotions out.

`emotion demo` starts it, and so does the app.py of a Space.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr
import numpy as np
from gradio.data_classes import ImageData
from PIL import Image

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import Picture, TooLargeImageError, UnreadableImageError, decode_picture
from emotion.data.sources.drawing import draw_face
from emotion.runtime.errors import UserError
from emotion.serving.batch import facts
from emotion.serving.demo import page
from emotion.serving.hot_reload import CHAMPION, Fixed, Followed, Loaded

LARGEST_UPLOAD = "10mb"
WAITING = 32  # requests in the queue; more are told that it is busy
AT_ONCE = 1  # an answer uses all cores
UPLOADS_LIVE = (5, 30)  # seconds: looked at so often, deleted at such an age
MOST_FACES = 24  # that are shown and explained; more would keep others waiting
ALIASES = (CHAMPION, "previous", "challenger")
PHOTO, CUT = "a photo: find the faces", "one face, cut out"
ABOUT = (
    "# Which emotion does a face show?\nUpload a picture, use the camera, or pick one of the drawn faces. Pictures are"
    " deleted within a minute. The answer names the expression that somebody labelling the picture would see, not what"
    " a person feels."
)


def decoded(upload: ImageData | None) -> Picture | None:
    """An upload's pixels, (height, width, 3) uint8; its size is looked at first."""
    if upload is None:
        return None
    try:
        return decode_picture(Path(upload.path or "").read_bytes())
    except (FileNotFoundError, IsADirectoryError):
        raise gr.Error("The picture is not kept that long: choose it again.", print_exception=False) from None
    except TooLargeImageError:
        raise gr.Error("This picture cannot be used: it is too large.", print_exception=False) from None
    except UnreadableImageError:
        refused = "This picture cannot be used: it is no image that can be read."
        raise gr.Error(refused, print_exception=False) from None


def only_uploads(photo: gr.Image) -> None:
    """Let a picture come by an upload alone: Gradio would fetch any address, and all that it has."""
    move = photo.async_move_resource_to_block_cache

    async def refusing(path: str | Path | None) -> str | None:
        if path is not None and re.match(r"\s*[a-z][a-z0-9+.-]*:", str(path), re.IGNORECASE):
            raise gr.Error("This picture cannot be used: upload it.", print_exception=False)
        return await move(path)

    photo.async_move_resource_to_block_cache = refusing  # type: ignore[method-assign, assignment]


def samples(folder: Path) -> list[Path]:
    """A drawn face for each emotion, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed, emotion in enumerate(EMOTIONS):
        path = folder / f"{emotion}.png"
        draw_face(emotion, np.random.default_rng(seed)).resize((288, 288), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def _sample(path: Path) -> tuple[str, str]:
    """A drawn face as the picture, and what it is."""
    return str(path), CUT


def build(models: Fixed | Followed, drawn: list[Path]) -> gr.Blocks:
    """The page.

    Args:
        models: which answer.
        drawn: from `samples`.
    """

    def answer(picture: Picture | None, kind: str, alias: str) -> tuple[str, dict[str, Any], str, str, Any]:
        """The faces of a picture: as HTML, as JSON; which version answered, its model card, and what else may."""
        loaded, note = models.get(alias)
        if picture is None:
            return "", {}, *about_model(loaded, note, alias)
        (faces,) = loaded.predictor.predict([picture], crop=kind == CUT)
        shown = sorted(faces, key=lambda face: -face.box.side)[:MOST_FACES]
        shown.sort(key=lambda face: (face.box.left, face.box.top))
        cut = [face.box.cut(picture) for face in shown]
        heats = None
        if shown and loaded.heat_map:
            heats = loaded.heat_map.of(np.stack(cut), [face.emotion for face in shown])
        told = {"model": loaded.about.title, "faces": [facts(face) for face in faces]}
        more = len(faces) - len(shown)
        return page.found(picture, shown, cut, heats, more), told, *about_model(loaded, note, alias)

    def about_model(loaded: Loaded, note: str, alias: str) -> tuple[str, str, Any]:
        """Which version answers, its card, and what else may."""
        choices = list(models.aliases)
        value = alias if alias in choices else CHAMPION
        choice = gr.Radio(choices=choices, value=value, visible=len(choices) > 1)
        return page.served(loaded.about.title, loaded.about.facts, note), loaded.about.card, choice

    def opened(alias: str) -> tuple[str, str, Any]:
        """What a page shows when it is opened."""
        return about_model(*models.get(alias), alias)

    blocks: gr.Blocks
    with gr.Blocks(title="Which emotion?", analytics_enabled=False, delete_cache=UPLOADS_LIVE) as blocks:
        gr.Markdown(ABOUT)
        about = gr.HTML()
        alias = gr.Radio(list(ALIASES), value=ALIASES[0], label="Which version answers", visible=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                photo = gr.Image(label="Picture", sources=["upload", "webcam", "clipboard"], height=320, buttons=[])
                only_uploads(photo)
                photo.preprocess = decoded  # type: ignore[method-assign, assignment]  # its own would decode anything
                kind = gr.Radio([PHOTO, CUT], value=PHOTO, label="What it is")
                gr.Markdown("Drawn faces")
                with gr.Row():
                    buttons = [gr.Button(path.stem, icon=path, size="sm", min_width=90) for path in drawn]
            with gr.Column(scale=3, min_width=320):
                shown = gr.HTML(label="Faces")
                with gr.Accordion("As JSON", open=False):
                    told = gr.JSON(show_label=False)
        with gr.Accordion("Model card", open=False):
            card = gr.Markdown()
        inputs, outputs = [photo, kind, alias], [shown, told, about, card, alias]
        events = {"concurrency_limit": AT_ONCE, "concurrency_id": "answers", "show_progress_on": [shown]}
        gr.on([photo.input, kind.input, alias.input], answer, inputs, outputs, api_name="predict", **events)
        for button, path in zip(buttons, drawn, strict=True):
            put = button.click(partial(_sample, path), None, [photo, kind], queue=False, api_visibility="private")
            put.then(answer, inputs, outputs, api_visibility="private", **events)
        blocks.load(opened, [alias], [about, card, alias], api_visibility="private", queue=False)
    blocks.queue(max_size=WAITING, api_open=False)  # nor may a program go past the queue
    return blocks


@contextmanager
def launched(
    models: Fixed | Followed, host: str, port: int, share: bool = False, drawn: Path | None = None
) -> Iterator[str]:
    """The demo, as long as the context lasts.

    Args:
        models: which answer.
        host: the address to listen at; 127.0.0.1 for this machine alone.
        port: to listen on.
        share: whether to open a public address through Gradio's servers.
        drawn: the folder of `samples`, where it is there already.

    Yields:
        The address to open.

    Raises:
        UserError: where the port is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        paths = sorted(drawn.glob("*.png")) if drawn else samples(Path(folder) / "samples")
        gr.set_static_paths(paths)  # what is not is a copy that is soon deleted
        blocks = build(models, paths)
        try:
            _, local, public = blocks.launch(
                server_name=host, server_port=port, share=share, max_file_size=LARGEST_UPLOAD, css=page.STYLE,
                theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]), footer_links=["api"],
                prevent_thread_lock=True, quiet=True, show_error=False, ssr_mode=False, enable_monitoring=False,
                mcp_server=False, pwa=False,
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"the demo cannot listen on {host}:{port}: {error}. `--port` takes another.") from error
        try:
            yield public or local
        finally:
            blocks.close(verbose=False)
