"""The reference model: trained on FER-2013 and part of the package, for use where there is no champion.

    python -m emotion.serving.reference

replaces it by the version in models/registered.json, in half precision. `make reference` also trains that version.
"""

import json
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from emotion.inference.half_precision import write_half_precision
from emotion.registry.lineage import run_of_version
from emotion.runtime.errors import UserError, run_main
from emotion.runtime.files import atomic_write, folder_size, read_json
from emotion.runtime.paths import REGISTERED
from emotion.serving.model_source import CLASSIFIER, MODEL, REFERENCE_MODEL, SHIPPED_FACTS, open_model
from emotion.tracking.records import Registered

TITLE, DATA = "reference model", "FER-2013"
NOTICE = """
## How to make it again

This is {version}, which the package `emotion` contains as its {title}, with weights in half precision. The command
that makes it again is `make reference ARCHIVE=facial-expression-dataset.zip`, with the archive whose SHA-256 is above.
Its parameters are those of the preset `quick` with 60 epochs; `bundle.json` lists all of them.

FER-2013 (Goodfellow et al., 2013) was released for research. It is not part of this package, and the model contains
none of its images.
"""


def write_reference(source: str, folder: Path) -> None:
    """Write a model in half precision, with its card, its metrics, and the network for heat maps.

    Args:
        source: see `open_model`; a version, so that it has a card.
        folder: the folder to write.

    Raises:
        UserError: if the model has no card, or no network for heat maps.
    """
    import keras

    from emotion.networks.inference import fold_normalization

    with open_model(source) as bundle, tempfile.TemporaryDirectory() as scratch:
        if not bundle.classifier or not bundle.info.card:
            raise UserError(f"{bundle.info.title} is not a registered version. Give models:/NAME/VERSION.")
        model, classifier = Path(scratch) / MODEL, Path(scratch) / CLASSIFIER
        write_half_precision(bundle.model, model)
        fold_normalization(keras.saving.load_model(bundle.classifier, compile=False), "float16").save(classifier)
        card = bundle.info.shown_card.replace(f"# {bundle.info.title}\n", "# The reference model\n", 1) + NOTICE.format(
            version=bundle.info.title, title=TITLE
        )
        trained = run_of_version(bundle.info.title, bundle.info.facts["run_id"]).params
        params = {name: value for name, value in trained.items() if not name.startswith("fetch.")}  # of one machine
        facts = {**bundle.info.facts, "data": DATA, "parameters": json.dumps(params)}
        info = replace(bundle.info, title=TITLE, card=card, facts=facts)
        with atomic_write(folder) as tmp:
            shipped = (*SHIPPED_FACTS, "git.commit", "parameters")
            replace(bundle, info=info, model=model, classifier=classifier).write(tmp, shipped)


def main(exit_callbacks: ExitStack) -> None:
    """Replace the reference model of this package."""
    registered = read_json(REGISTERED, "Run `dvc repro`.", Registered)
    source = f"models:/{registered['name']}/{registered['version']}"
    write_reference(source, REFERENCE_MODEL)
    print(f"{REFERENCE_MODEL} contains {source}: {folder_size(REFERENCE_MODEL) / 1e6:.2f} MB.")


if __name__ == "__main__":
    run_main("reference", main)
