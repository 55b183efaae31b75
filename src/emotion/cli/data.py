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
    path: Annotated[Path, typer.Argument(help="A folder, a zip or tar file, or a table (.csv).")],
    labels: Annotated[
        str | None,
        typer.Option(help="What labels mean, as in fetch.labels: fer2013 (or another numbering), or '{0: angry}'."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="A PNG file to write: twelve images of each emotion.", dir_okay=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the layout, what each label means, the splits, and what is left out. Nothing is copied or trained."""
    from emotion.cli import tables
    from emotion.data.layouts.describe import describe, notes, title
    from emotion.data.layouts.source import open_source
    from emotion.data.layouts.words import LabelMap

    label_map = LabelMap.from_parameter(parse_labels(labels))
    with open_source(path, label_map, str(path)) as source:
        described = {"origin": path.name, **describe(source)}
        if sheet:
            from emotion.evaluation.figures.sheet import draw_sheet

            draw_sheet(source, SHEET_IMAGES, sheet)
        if as_json:
            print(json.dumps(described, indent=2, ensure_ascii=False))
            return
        tables.show(tables.faces_table(source.recognized.faces, title(described)))
        print(*notes(described), sep="\n")
    if sheet:
        print(f"Wrote {SHEET_IMAGES} images of each emotion to {sheet}.")


def parse_labels(text: str | None) -> Any:
    """What `--labels` says, as fetch.labels.

    Raises:
        UserError: if it is neither a numbering nor a mapping.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from emotion.params.sections import Labels
    from emotion.runtime.errors import UserError

    if text is None:
        return None
    try:
        content = yaml.safe_load(text)
        return TypeAdapter(Labels).validate_python(content)
    except yaml.YAMLError:
        reason = "it is not valid YAML"
    except ValidationError as error:
        reason = error.errors()[-1]["msg"]  # the first is about numberings
    raise UserError(
        f"--labels {text}: {reason}. Give a numbering, such as fer2013 or rafdb, or a mapping, such as"
        " '{0: angry, 1: happy}'."
    )
