"""How often the same test images have decided about a model: each decision wears them out (Blum and Hardt, 2015)."""

import hashlib

import numpy as np

from emotion.data.dataset import Split
from emotion.params.sections import Gate
from emotion.registry.promotion.gate.comparison import Comparison
from emotion.tracking.queries import search_runs

IMAGES_TAG = "images.sha256"  # of the run of a verdict


def images_digest(test: Split) -> str:
    """SHA-256 of images and labels."""
    digest = hashlib.sha256(np.ascontiguousarray(test.images).tobytes())
    digest.update(test.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def count_uses(model: str, digest: str) -> int:
    """How many verdicts about a registered model were based on the images."""
    return sum(run.tags.get(IMAGES_TAG) == digest and run.tags.get("model") == model for run in search_runs("promote"))


def describe_wear(settings: Gate, uses: int, compared: Comparison | None) -> str:
    """How often the images have decided, this time included, and how much the best score is too high by that.

    Of equally good versions, the best one looks better than it is by the expected maximum of their errors. The error
    of a score, relative to those of other versions on the same images, follows from the share of different answers.
    """
    from emotion.evaluation.significance import expected_maximum  # SciPy, which takes half a second

    sentences = [f"These test images have decided about this model {uses} time{'' if uses == 1 else 's'}."]
    if compared and uses > 1:
        excess = np.sqrt(compared.discordant / len(compared.labels) / 2) * expected_maximum(uses)
        sentences.append(
            f"If all {uses} versions were equally good, the best would still look {100 * excess:.1f} points better than"
            " it is."
        )
    if uses > settings.max_uses:
        sentences.append(
            f"WARNING: this is more often than register.gate.max_uses ({settings.max_uses}). Collect new test images,"
            " or set some aside with preprocess.gate_fraction."
        )
    return " ".join(sentences)
