"""`emotion predict`, `export`, `demo` and `space`."""

import contextlib
import gc
import json
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from emotion.cli.promotion import JsonOption

ModelOption = Annotated[
    str | None,
    typer.Option(
        help="A version (3, an alias, a DVC experiment), models:/NAME/VERSION, a SavedModel folder, a LiteRT file, or"
        " reference (the model of this package, which also answers if there is no champion). Default: the champion."
    ),
]
MinConfidenceOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help='Answer "unsure" below this confidence. Default: the model\'s own threshold.'),
]


NoticeOption = Annotated[
    Path | None,
    typer.Option(
        help="A Markdown file that replaces the notice on the page: what people must know before they use it.",
        exists=True,
        dir_okay=False,
    ),
]
ContactOption = Annotated[str, typer.Option(help="A contact for questions, such as an email address.")]


class Format(StrEnum):
    """The formats of `export`."""

    LITERT = "litert"
    INT8 = "int8"
    ONNX = "onnx"


def predict(
    paths: Annotated[list[str], typer.Argument(help="Images, videos, folders or glob patterns; - for standard input.")],
    model: ModelOption = None,
    no_detect: Annotated[
        bool, typer.Option("--no-detect", help="Skip face detection: each image is a single cropped face.")
    ] = False,
    min_confidence: MinConfidenceOption = None,
    frame_interval: Annotated[float, typer.Option(min=0, help="Seconds between the frames of a video.")] = 1.0,
    annotate: Annotated[Path | None, typer.Option(help="A folder for copies with boxes and scores, as PNG.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all scores as CSV.")] = False,
) -> None:
    """Find faces in images and predict their emotions.

    Exit codes: 0 if all files were processed, 1 if at least one failed. The others are still predicted.
    """
    from rich import progress
    from rich.console import Console

    from emotion.cli import tables
    from emotion.data.dataset import describe_classes
    from emotion.runtime.errors import UserError
    from emotion.runtime.text import printable
    from emotion.serving import batch, inputs
    from emotion.serving.predictor import Predictor

    files = inputs.expand_paths(paths)
    if annotate and (inside := files.folders_with(annotate)):
        raise UserError(f"--annotate {annotate} would write among the images of {inside}. Choose another folder.")
    predictor = Predictor.from_source(model, min_confidence)
    gc.enable()  # there may be many images
    console, is_silent = Console(stderr=True), not sys.stderr.isatty()
    tracked = progress.track(list(files.places.items()), "Reading", console=console, disable=is_silent)
    read = inputs.read_inputs(tracked, frame_interval)
    results = list(batch.predict_images(predictor, read, not no_detect, annotate))
    if as_json:
        print(json.dumps([result.to_dict() for result in results], indent=2))
    elif as_csv:
        print(batch.results_table(results, predictor.emotions).to_csv(index=False), end="")
    else:
        tables.show(tables.predictions_table(results))
        print(f"{printable(predictor.title)}: {describe_classes(predictor.emotions, predictor.input_shape)}")
    if annotate:
        print(f"Wrote copies with boxes and scores to {annotate}.", file=sys.stderr)
    if files.skipped:
        print(f"Skipped {files.skipped} files whose names are not those of images or videos.", file=sys.stderr)
    failed = [result for result in results if result.error]
    for result in failed:
        print(f"emotion: {printable(f'{result.name}: {result.error}')}", file=sys.stderr)
    if failed:
        raise typer.Exit(1)


def export(
    target: Annotated[Path, typer.Argument(help="The file to write.")],
    to_format: Annotated[Format, typer.Option("--format", help="Format; int8 is LiteRT with 8-bit integers.")],
    model: ModelOption = None,
    fast: Annotated[bool, typer.Option("--fast", help="Convert the signature `fast`, without novelty.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Convert a model for another runtime, and check that its predictions stay the same.

    Needs data/faces: parity, accuracy and speed are measured on validation images.
    """
    from emotion.cli import tables
    from emotion.data.dataset import open_dataset
    from emotion.inference.convert import convert
    from emotion.serving.model_source import open_model

    dataset = open_dataset()
    with open_model(model) as bundle:
        bundle.check()
        parity = convert(bundle.model, to_format.value, target, dataset, fast)
        if as_json:
            print(json.dumps({"model": bundle.info.title, "file": str(target), **asdict(parity)}, indent=2))
            return
        tables.show(tables.parity_table(bundle.info.title, target, parity))


def demo(
    model: ModelOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port to listen on.")] = 7860,
    min_confidence: MinConfidenceOption = None,
    share: Annotated[bool, typer.Option("--share", help="Open a public URL through Gradio's servers.")] = False,
    notice: NoticeOption = None,
    contact: ContactOption = "",
) -> None:
    """Start a web demo of the champion and of the reference model; a new champion is loaded automatically."""
    import threading

    from emotion.serving.hot_reload import AliasWatcher, StaticModel, load_model

    models: StaticModel | AliasWatcher
    if model is not None or not Path("params.yaml").exists():
        models = StaticModel(load_model(model, min_confidence))
    else:
        from emotion.params.load import load_params
        from emotion.registry.promotion.reconcile import trusted_aliases

        name = load_params().register_.name
        models = AliasWatcher(name, lambda: trusted_aliases(name), lambda uri: load_model(uri, min_confidence))
    from emotion.serving.demo.app import NOTICE, launch

    gc.enable()  # this may run for months
    with launch(models, host, port, share, notice=notice or NOTICE, contact=contact) as url:
        print(f"Open {url}. Press Ctrl-C to stop.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def space(
    folder: Annotated[Path, typer.Argument(help="The folder to write; it must be empty or not exist yet.")],
    model: ModelOption = None,
    notice: NoticeOption = None,
    contact: ContactOption = "",
) -> None:
    """Write a folder that runs the demo on Hugging Face Spaces, or on any machine."""
    from emotion.serving.demo.space import write_space
    from emotion.serving.model_source import open_model

    with open_model(model) as bundle:
        write_space(bundle, folder, notice, contact)
        print(
            f"{folder} is a demo of {bundle.info.title}. To publish it, run `hf auth login` and `hf upload --repo-type"
            f" space USER/NAME {folder} .`"
        )
