"""A version's answers for the test images, which are kept with it, so that each version predicts them only once."""

import io
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from securesystemslib.signer import CryptoSigner

from emotion.registry.promotion.gate.rules import Probabilities
from emotion.registry.signing.envelope import ANSWERS, sign, verify
from emotion.registry.signing.keys import trusted_keys
from emotion.registry.versions import Version
from emotion.runtime.errors import UserError
from emotion.runtime.files import bytes_digest
from emotion.tracking.client import connection
from emotion.tracking.queries import get_run, read_artifact

MAX_HEADER = 1000  # bytes
TOLERANCE = 1e-3  # of the sum of probabilities


def are_distributions(probabilities: Probabilities) -> bool:
    """Whether no value is negative or NaN, and each row sums to 1."""
    return bool((probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) < TOLERANCE).all())


def read_answers(version: Version, images: str, shape: tuple[int, int]) -> Probabilities | None:
    """The answers that were kept with a version; None if there are none for its files and these images.

    Args:
        version: the version.
        images: SHA-256 of the test images, from `images_digest`.
        shape: how many there are, and how many emotions.

    Returns:
        float32 of that shape.
    """
    run = get_run(version.run_id) if version.run_id else None
    try:
        content = read_artifact(run.id, _path(version, images)) if run else None
        if run and content and (trusted := trusted_keys()):
            signed = read_artifact(run.id, _path(version, images, "json")) or b""
            document, _ = verify(signed.decode(errors="replace"), ANSWERS, trusted, "the answers of a version")
            if document != _document(version, images, content):
                return None
        fits = content is not None and len(content) <= shape[0] * shape[1] * 4 + MAX_HEADER
        answers = np.load(io.BytesIO(content), allow_pickle=False) if content and fits else None
    except Exception:  # noqa: BLE001  lost, damaged or unsigned: they are predicted again
        return None
    if not isinstance(answers, np.ndarray) or answers.shape != shape or answers.dtype != np.float32:
        return None
    return answers if are_distributions(answers) else None


def keep_answers(version: Version, images: str, answers: Probabilities, signer: CryptoSigner | None) -> None:
    """Keep a version's answers with it, among the artifacts of its run, and sign them if the project has keys."""
    run = get_run(version.run_id) if version.run_id else None
    if run is None:
        return
    buffer = io.BytesIO()
    np.save(buffer, answers)
    contents = {_path(version, images): buffer.getvalue()}
    if signer:
        document = _document(version, images, buffer.getvalue())
        contents[_path(version, images, "json")] = sign(document, ANSWERS, signer).encode()
    for name, content in contents.items():
        path = Path(name)
        with (
            suppress(UserError),  # the decision does not depend on it
            tempfile.TemporaryDirectory() as folder,
            connection().translate_errors(count_time=False),
        ):
            (Path(folder) / path.name).write_bytes(content)
            connection().client.log_artifact(run.id, str(Path(folder) / path.name), str(path.parent))


def _document(version: Version, images: str, content: bytes) -> dict[str, str]:
    return {"files": version.files_digest, "images": images, "answers": bytes_digest(content)}


def _path(version: Version, images: str, ending: str = "npy") -> str:
    return f"gate/answers-{version.files_digest[:16]}-{images[:16]}.{ending}"
