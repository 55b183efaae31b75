"""Review the labels of the dataset: `emotion data review`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from emotion.data.dataset import open_dataset
from emotion.data.labels import UNUSED
from emotion.data.layouts.recognized import read_faces
from emotion.data.preparation.corrections import COLUMNS, Action, read_corrections
from emotion.evaluation.predictions import predictions_table, write
from emotion.evaluation.review.issues import conflicting_groups, confused_pairs, corrections_by_rule, doubted_labels
from emotion.evaluation.review.page import write_page
from emotion.params.sections import Train
from emotion.runtime.files import atomic_write, bytes_digest
from emotion.runtime.paths import CORRECTIONS, FACES
from emotion.runtime.tensorflow import load_tensorflow

PACKAGE = Path(__file__).parents[2]


def review_labels(settings: Train, folds: int, top: int, rule: Action | None, folder: Path) -> dict[str, Any]:
    """Predict every image out of fold, and write the doubtful labels as tables and as a page.

    Args:
        settings: the networks, and how to train them.
        folds: their number.
        top: how many doubtful labels the page shows.
        rule: what to do with all doubtful labels of training images, in corrections.csv; None writes no such file.
        folder: where to write out_of_fold.csv, doubted.csv, confused.csv, index.html and corrections.csv.

    Returns:
        images, doubted, conflicts (groups of identical images with different labels), conflicts_found (those with a
        doubted label), page, and for a rule: corrections (the file) and corrected (its rows).

    Raises:
        UserError: if there is no dataset, or the earlier corrections are damaged.
    """
    dataset = open_dataset()
    everything = dataset.select(np.flatnonzero(dataset.index["split"] != UNUSED))
    stated = read_faces(FACES).set_index("name")["emotion"]
    earlier = read_corrections(CORRECTIONS) if dataset.metadata["corrections"] else None
    has_votes = dataset.metadata["source"]["votes"]
    load_tensorflow(trains=True)
    from emotion.evaluation.review.out_of_fold import predict_out_of_fold

    code = b"".join(
        path.read_bytes() for name in ("networks", "training") for path in sorted((PACKAGE / name).glob("*.py"))
    )
    inputs = [bytes_digest(content) for content in (everything.index.to_csv().encode(), code)]
    key = json.dumps([settings.model_dump(mode="json"), folds, *inputs])
    work = folder / "work" / bytes_digest(key.encode())[:16]
    work.mkdir(parents=True, exist_ok=True)
    probabilities = predict_out_of_fold(settings, everything, folds, work)
    doubted = doubted_labels(everything, probabilities, stated)
    conflicts, pairs = conflicting_groups(everything.index), confused_pairs(everything, probabilities, has_votes)
    write(predictions_table(everything.index, probabilities, dataset.emotions), folder / "out_of_fold.csv")
    for name, table in {"doubted": doubted, "confused": pairs}.items():
        with atomic_write(folder / f"{name}.csv") as tmp:
            table.to_csv(tmp, index=False, float_format="%.5f")
    kept = pd.DataFrame(columns=list(COLUMNS)) if earlier is None else earlier[list(COLUMNS)]
    write_page(folder / "index.html", everything, dataset.caption, doubted, conflicts, pairs, kept, top)
    found = {name for names in conflicts["names"] for name in names} & set(doubted["name"])
    result: dict[str, Any] = {
        "images": len(everything),
        "doubted": len(doubted),
        "conflicts": len(conflicts),
        "conflicts_found": sum(bool(found & set(names)) for names in conflicts["names"]),
        "page": str(folder / "index.html"),
    }
    if rule:
        corrections = corrections_by_rule(doubted, rule, kept)
        with atomic_write(folder / "corrections.csv") as tmp:
            corrections.to_csv(tmp, index=False)
        result |= {"corrections": str(folder / "corrections.csv"), "corrected": len(corrections)}
    return result
