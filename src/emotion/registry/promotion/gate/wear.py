"""How often the same test images have decided about a model: each decision wears them out (Blum and Hardt, 2015)."""

import hashlib
from collections.abc import Sequence

import numpy as np

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS
from emotion.params.sections import Gate
from emotion.registry.promotion.gate.comparison import Comparison
from emotion.tracking.queries import search_runs

IMAGES_TAG = "images.sha256"  # of the run of a verdict


def images_digest(test: Split) -> str:
    """SHA-256 of images and labels, and of the emotions unless they are FER-2013's, as in earlier releases."""
    digest = hashlib.sha256(np.ascontiguousarray(test.images).tobytes())
    digest.update(test.labels.astype("<i8").tobytes())
    if test.emotions != EMOTIONS:
        digest.update("\n".join(test.emotions).encode())
    return digest.hexdigest()


def decided_versions(model: str, digest: str) -> list[str]:
    """The versions of a registered model that verdicts based on the images were about; one for each verdict."""
    return [
        run.tags.get("version", "") for run in search_runs("promote")
        if run.tags.get(IMAGES_TAG) == digest and run.tags.get("model") == model
    ]  # fmt: skip


def describe_wear(settings: Gate, decided: Sequence[str], compared: Comparison | None) -> str:
    """How often the images have decided, this time included, and how much the best score is too high by that.

    Of equally good versions, the best one looks better than it is by the expected maximum of their errors. The error
    of a score, relative to those of other versions on the same images, follows from the share of different answers.

    Args:
        settings: the thresholds.
        decided: the versions of all decisions.
        compared: the candidate and the version that it is compared with, if there is one.
    """
    from emotion.evaluation.significance import expected_maximum  # SciPy, which takes half a second

    times, versions = len(decided), len(set(decided))
    sentences = [
        f"These test images have decided {times} time{'' if times == 1 else 's'} about {versions}"
        f" version{'' if versions == 1 else 's'} of this model."
    ]
    if compared and versions > 1:
        excess = np.sqrt(compared.discordant / len(compared.labels) / 2) * expected_maximum(versions)
        sentences.append(
            f"If all {versions} were equally good, the best would still look {100 * excess:.1f} points better than it"
            " is."
        )
    if times > settings.max_uses:
        sentences.append(
            f"WARNING: this is more often than register.gate.max_uses ({settings.max_uses}). Collect new test images,"
            " or reserve some with preprocess.gate_fraction."
        )
    return " ".join(sentences)
