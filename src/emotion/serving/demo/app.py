"""The web demo: finds the faces in an uploaded image and shows their emotions.

`emotion demo` starts it, and so does the app.py of a Hugging Face Space.
"""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from emotion.data.labels import EMOTIONS
from emotion.data.preparation.images import RGBImage, load_image
from emotion.data.sources.drawing import draw_face
from emotion.runtime.errors import UserError
from emotion.serving.batch import faces_to_dict
from emotion.serving.demo.page import STYLE, render_model_info, render_result
from emotion.serving.demo.uploaded_image import UploadedImage
from emotion.serving.hot_reload import AliasWatcher, LoadedModel, StaticModel
from emotion.serving.model_source import CHAMPION, REFERENCE

MAX_UPLOAD = "10mb"
MAX_QUEUE = 32  # requests; more are rejected as busy
CONCURRENCY = 1  # a prediction uses all cores
DELETE_UPLOADS = (5, 30)  # seconds: interval of the cleanup, and age of what it deletes
MAX_FACES = 24  # faces that are shown and explained; more would keep other users waiting
ALIASES = (CHAMPION, "previous", "challenger", REFERENCE)
PHOTO, CROPPED = "a photo: detect faces", "a cropped face"
INTRODUCTION = (
    "# Which emotion does a face show?\nThe model names the expression that an annotator would see, not what a person"
    " feels. The first answer is about a drawn face."
)
LIMITS = (
    "JPEG, PNG, WebP and others up to 10 MB. Faces are found if they look to the front and are at least 20 pixels wide."
    " The model sees each of them in few pixels, and it is often wrong: see its test below."
)
NOTICE = Path(__file__).parent / "templates" / "notice.md"
FIRST_SAMPLE = "happy"


def write_samples(folder: Path) -> list[Path]:
    """Write a drawn face for each emotion as a PNG file."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed, emotion in enumerate(EMOTIONS):
        path = folder / f"{emotion}.png"
        draw_face(emotion, np.random.default_rng(seed)).resize((288, 288), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def read_notice(path: Path, contact: str) -> str:
    """The notice of the page, as Markdown.

    Raises:
        UserError: if the file is empty or not a text.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise UserError(f"the notice {path} is not a text in UTF-8. Write what people must know, as Markdown.")
    return f"{text} Contact: {contact}." if contact else text


def _choose_sample(path: Path) -> tuple[str, bool]:
    return str(path), True


def build(models: StaticModel | AliasWatcher, samples: list[Path], notice: str) -> gr.Blocks:
    """Build the page.

    Args:
        models: the models to serve.
        samples: the files from `write_samples`.
        notice: what people must know before they use it, as Markdown.
    """
    lock = threading.Lock()
    first = next(path for path in samples if path.stem == FIRST_SAMPLE)
    first_answers: dict[str, tuple[str, dict[str, Any]]] = {}  # by the title of the model

    def predict(
        image: RGBImage | None, kind: str, alias: str, is_sample: bool
    ) -> tuple[str, dict[str, Any], str, str, Any]:
        """The faces of an image as HTML and as JSON; the model that was used, its card, and the other choices."""
        model, note = models.get(alias)
        if image is None:
            return "", {}, *model_info(model, note, alias)
        return *answer(model, image, is_sample or kind == CROPPED), *model_info(model, note, alias)

    def answer(model: LoadedModel, image: RGBImage, is_cropped: bool) -> tuple[str, dict[str, Any]]:
        """The faces of an image as HTML and as JSON."""
        (faces,) = model.predictor.predict([image], detect=not is_cropped)
        shown = sorted(faces, key=lambda face: -face.box.side)[:MAX_FACES]
        shown.sort(key=lambda face: (face.box.left, face.box.top))
        crops = [face.box.crop(image, model.predictor.input_shape) for face in shown]
        heat_maps = None
        if shown and model.gradcam:
            heat_maps = model.gradcam.heat_maps(np.stack(crops), [face.emotion for face in shown])
        caution = model.predictor.caution
        content = {"model": model.info.title, **faces_to_dict(faces, caution)}
        html = render_result(image, shown, crops, heat_maps, caution, len(faces) - len(shown), model.info.title)
        return html, content

    def model_info(model: LoadedModel, note: str, alias: str) -> tuple[str, str, Any]:
        """The model in use, its card, and the other choices."""
        choices = list(models.aliases)
        value = alias if alias in choices else choices[0]
        choice = gr.Radio(choices=choices, value=value, visible=len(choices) > 1)
        return render_model_info(model.info.title, model.info.facts, note), model.info.shown_card, choice

    def on_load(alias: str) -> tuple[str, bool, str, dict[str, Any], str, str, Any]:
        """The content of the page when it is opened: the answer about a sample."""
        model, note = models.get(alias)
        title = model.info.title
        with lock:
            if title not in first_answers:
                first_answers.clear()  # of models that are no longer served
                first_answers[title] = answer(model, load_image(first.read_bytes()), True)
            answered = first_answers[title]
        return *_choose_sample(first), *answered, *model_info(model, note, alias)

    blocks: gr.Blocks
    with gr.Blocks(title="Which emotion?", analytics_enabled=False, delete_cache=DELETE_UPLOADS) as blocks:
        gr.Markdown(INTRODUCTION)
        gr.Markdown(notice, elem_id="notice")
        is_sample = gr.State(value=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                image = UploadedImage(label="Image", sources=["upload", "webcam", "clipboard"], height=280, buttons=[])
            with gr.Column(scale=3, min_width=320):
                result = gr.HTML(label="Faces")
        with gr.Row():
            buttons = [gr.Button(path.stem, icon=path, size="sm", min_width=90) for path in samples]
        kind = gr.Radio([PHOTO, CROPPED], value=PHOTO, label="The image is")
        gr.Markdown(LIMITS, elem_id="limits")
        info = gr.HTML()
        alias = gr.Radio(list(ALIASES), value=ALIASES[0], label="Model", visible=False)
        with gr.Accordion("As JSON", open=False):
            content = gr.JSON(show_label=False)
        with gr.Accordion("Model card", open=False):
            card = gr.Markdown()
        inputs, outputs = [image, kind, alias, is_sample], [result, content, info, card, alias]
        events: dict[str, Any] = {
            "concurrency_limit": CONCURRENCY,
            "concurrency_id": "predictions",
            "show_progress_on": [result],
        }
        alias.input(predict, inputs, outputs, api_name="predict", **events)
        uploaded = gr.on(
            [image.input, kind.input], lambda: False, None, [is_sample], queue=False, api_visibility="private"
        )
        uploaded.then(predict, inputs, outputs, api_visibility="private", **events)
        for button, path in zip(buttons, samples, strict=True):
            chosen = button.click(
                partial(_choose_sample, path), None, [image, is_sample], queue=False, api_visibility="private"
            )
            chosen.then(predict, inputs, outputs, api_visibility="private", **events)
        loaded = [image, is_sample, *outputs]
        blocks.load(on_load, [alias], loaded, api_visibility="private", queue=False)
    blocks.queue(max_size=MAX_QUEUE, api_open=False)  # API clients cannot bypass the queue
    return blocks


@contextmanager
def launch(
    models: StaticModel | AliasWatcher,
    host: str,
    port: int,
    share: bool = False,
    samples: Path | None = None,
    notice: Path = NOTICE,
    contact: str = "",
) -> Iterator[str]:
    """Serve the demo until the end of the context.

    Args:
        models: the models to serve.
        host: the address to listen on; 127.0.0.1 for this machine only.
        port: the port to listen on.
        share: whether to open a public URL through Gradio's servers.
        samples: an existing folder written by `write_samples`; None writes a temporary one.
        notice: a Markdown file with what people must know before they use the demo.
        contact: whom they can ask, such as an address.

    Yields:
        The URL to open.

    Raises:
        UserError: if the port is in use, or the notice cannot be read.
    """
    text = read_notice(notice, contact)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "uploads")
        paths = sorted(samples.glob("*.png")) if samples else write_samples(Path(folder) / "samples")
        gr.set_static_paths(paths)  # other files are copied, and the copies soon deleted
        blocks = build(models, paths, text)
        try:
            _, local, public = blocks.launch(
                server_name=host, server_port=port, share=share, max_file_size=MAX_UPLOAD, css=STYLE,
                theme=gr.themes.Soft(font=["system-ui", "sans-serif"], font_mono=["monospace"]), footer_links=["api"],
                prevent_thread_lock=True, quiet=True, show_error=False, ssr_mode=False, enable_monitoring=False,
                mcp_server=False, pwa=False,
            )  # fmt: skip
        except OSError as error:
            message = f"the demo cannot listen on {host}:{port}: {error}. Choose another port with `--port`."
            raise UserError(message) from error
        try:
            yield public or local
        finally:
            blocks.close(verbose=False)
