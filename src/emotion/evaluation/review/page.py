"""The review of labels as a page, on which people decide what to correct."""

import base64
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from emotion.data.dataset import Images, Split
from emotion.data.preparation.corrections import Action
from emotion.data.preparation.images import encode_png
from emotion.runtime.files import atomic_write

SHOWN_PAIRS = 8


def write_page(
    path: Path,
    split: Split,
    caption: str,
    doubted: pd.DataFrame,
    conflicts: pd.DataFrame,
    pairs: pd.DataFrame,
    earlier: pd.DataFrame,
    top: int,
) -> None:
    """Write the page, which contains its images and needs no server.

    Args:
        path: the HTML file.
        split: all images of the dataset.
        caption: a description of the data.
        doubted: from `doubted_labels`.
        conflicts: from `conflicting_groups`.
        pairs: from `confused_pairs`.
        earlier: corrections that were applied already, which the page's table of corrections contains, too.
        top: how many doubted labels to show.
    """
    row_of = pd.Series(range(len(split)), index=split.index["name"])
    shown = doubted.head(top)
    cards = [{**card, "image": _data_uri(split.images[row_of[card["name"]]])} for card in shown.to_dict("records")]
    groups = [
        {
            "labels": group["labels"],
            "names": group["names"],
            "image": _data_uri(split.images[row_of[group["names"][0]]]),
        }
        for group in conflicts.to_dict("records")
    ]
    environment = Environment(
        loader=PackageLoader("emotion.evaluation.review"), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("review.html.j2").render(
        caption=caption,
        images=len(split),
        doubted=len(doubted),
        cards=cards,
        groups=groups,
        pairs=pairs.head(SHOWN_PAIRS).to_dict("records"),
        has_votes=bool(pairs["by_annotators"].notna().any()),
        earlier=earlier.to_dict("records"),
        actions=[str(action) for action in Action],
        emotions=split.emotions,
    )
    with atomic_write(path) as tmp:
        tmp.write_text(page, encoding="utf-8")


def _data_uri(image: Images) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(image)).decode()
