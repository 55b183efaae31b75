"""Sign what the pipeline has trained and registered."""

import contextlib
from collections.abc import Iterable, Mapping

from emotion.registry.signing.envelope import SignatureError
from emotion.registry.signing.keys import load_signer
from emotion.registry.signing.versions import Training, sign_version, verify_version
from emotion.registry.versions import get_version
from emotion.runtime.errors import UserError
from emotion.tracking.records import read_record


def sign_trained(name: str, number: str, files: Mapping[str, str], metrics: Mapping[str, float]) -> None:
    """Sign a version, if the project lists keys and this machine has one of them; otherwise, say what to do.

    Args:
        name: the name of the registered model.
        number: of the version.
        files: the SHA-256 of each file by path, compared with what the pipeline wrote.
        metrics: of the exported model.
    """
    try:
        signer = load_signer(ask=False)
    except UserError as error:
        try:
            verify_version(name, get_version(name, number), files)  # if nothing has changed, it still is
        except SignatureError:
            print(f"Version {number} is not signed: {error} Then run `emotion keys sign {number}`.")
        return
    if signer:
        record = read_record("train")  # which nobody can edit in MLflow
        training = Training(record.params, metrics, record.tags, record.patch.encode())
        sign_version(name, number, files, training, signer)


def check_may_change(name: str, number: str, changed: Iterable[str]) -> None:
    """Check that the signature of a version can be renewed, before its tags are changed.

    Raises:
        UserError: if it is signed, and this machine has no key.
    """
    try:
        load_signer(ask=False)
    except UserError as error:
        with contextlib.suppress(SignatureError):
            verify_version(name, get_version(name, number))
            raise UserError(
                f"version {number} of {name} is signed, and {', '.join(changed)} would change. {error}"
            ) from None
