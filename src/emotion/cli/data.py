"""`emotion data`: what labelled faces at a path are, and which labels a model doubts."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from emotion.cli.promotion import JsonOption

SHOW = "show"
SHEET_IMAGES = 12  # of each emotion


class PathOrCommand(TyperGroup):
    """Takes the first argument for a path unless it is the name of a command, so that `emotion data PATH` works."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show this in the usage."""
        return ["PATH [OPTIONS] | review [OPTIONS]"]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the command that is meant."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [SHOW, *args]
        return super().parse_args(ctx, args)


data = typer.Typer(
    cls=PathOrCommand,
    no_args_is_help=True,
    help="Show what labelled faces are, before anything runs: `emotion data PATH`.",
)


@data.command(SHOW)
def show(
    path: Annotated[str, typer.Argument(help="A folder, a zip or tar file, or a table (.csv).")],
    labels: Annotated[
        str | None,
        typer.Option(help="What labels mean, as in fetch.labels: fer2013 (or another numbering), or '{0: angry}'."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="A PNG file to write: twelve images of each emotion.", dir_okay=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the form of the data, what each label means, the splits, and what is left out.

    Nothing is copied or trained, and no image is decoded, unless for --sheet.
    """
    from emotion.cli import tables
    from emotion.data.layouts.describe import describe, notes, title
    from emotion.data.layouts.source import open_source
    from emotion.data.layouts.words import LabelMap
    from emotion.data.sources.download import is_url
    from emotion.runtime.errors import UserError
    from emotion.runtime.text import printable

    if is_url(path):
        raise UserError(f"{path} is an address. Download the file first, or set fetch.path and run `dvc repro fetch`.")
    label_map = LabelMap.from_parameter(parse_labels(labels))
    with open_source(Path(path), label_map, path) as source:
        described = {"origin": Path(path).name, **describe(source)}
        if sheet:
            from emotion.evaluation.figures.sheet import draw_sheet

            draw_sheet(source, SHEET_IMAGES, sheet)
        if as_json:
            print(json.dumps(described, indent=2, ensure_ascii=False))
            return
        print(printable(title(described)))
        tables.show(tables.faces_table(source.recognized.faces))
        print(*notes(described), sep="\n")
    if sheet:
        print(f"Wrote up to {SHEET_IMAGES} images of each emotion to {sheet}.")


@data.command()
def review(
    folds: Annotated[int, typer.Option(min=2, max=20, help="Networks to train, each without some images.")] = 4,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each network. Default: train.epochs.")] = None,
    preset: Annotated[str | None, typer.Option(help="A preset for the networks, such as quick.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many doubtful labels to show.")] = 200,
    rule: Annotated[
        str | None,
        typer.Option(help="Also write corrections of all doubtful labels in training: drop, soften, relabel."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find doubtful labels in data/faces, and write a page on which you can correct them.

    Trains networks, so it takes as long as trainings do; if it is interrupted, it continues where it was.
    """
    from emotion.data.preparation.corrections import Action
    from emotion.evaluation.review.run import review_labels
    from emotion.params.load import load_params, load_train_preset
    from emotion.runtime.errors import UserError
    from emotion.runtime.paths import REVIEW

    if rule not in (None, *(set(Action) - {Action.KEEP})):
        raise UserError(f"--rule {rule} is unknown. Choose drop, soften or relabel.")
    train = load_params().train
    if preset:
        train = train.override(load_train_preset(preset))
    if epochs:
        train = train.override({"epochs": epochs, "budget_minutes": None})
    found = review_labels(train, folds, top, Action(rule) if rule else None, REVIEW)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['doubted']:,} of {found['images']:,} labels are doubtful. Among the {found['conflicts']} groups of"
        f" identical images with different labels, {found['conflicts_found']} have a doubtful one.\n"
        f"Open {found['page']} to look at them and to decide."
    )
    if rule:
        print(
            f"{found['corrections']} holds a correction by the rule {rule} for {found['corrected']:,} training images."
        )


def parse_labels(text: str | None) -> Any:
    """What `--labels` says, as fetch.labels.

    Raises:
        UserError: if it is neither a numbering nor a mapping.
    """
    from pydantic import TypeAdapter, ValidationError
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from emotion.data.layouts.words import NUMBERINGS
    from emotion.params.sections import Labels
    from emotion.runtime.errors import UserError

    if text is None:
        return None
    try:
        content = YAML(typ="safe", pure=True).load(text)
        if not isinstance(content, dict) and content not in NUMBERINGS:
            raise ValueError("there is no such numbering")
        return TypeAdapter(Labels).validate_python(content)
    except ValidationError as error:
        reason = error.errors()[-1]["msg"].removeprefix("Value error, ")  # the first is about numberings
    except YAMLError:
        reason = "it is not valid YAML, or gives a label twice"
    except ValueError as error:
        reason = str(error)
    raise UserError(
        f"--labels {text}: {reason}. Give a numbering ({', '.join(NUMBERINGS)}), or a mapping, such as"
        " '{0: angry, 1: happy}'."
    )
