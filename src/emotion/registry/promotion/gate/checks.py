"""The gate's checks of a version's integrity: its files, its graph, its signature, and one prediction."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from emotion.data.dataset import Split, describe_classes
from emotion.inference.load import Model
from emotion.inference.op_allowlist import disallowed_ops
from emotion.registry.promotion.gate.answers import are_distributions
from emotion.registry.promotion.gate.rules import Rule
from emotion.registry.signature import (
    has_expected_signature,
    has_only_saved_model,
    input_example,
    saved_model_of,
)
from emotion.registry.signing.envelope import SignatureError
from emotion.registry.signing.versions import UNSIGNED, verify_version
from emotion.registry.versions import Version, changed_files, downloaded_digests

CLASSES = "classes"  # the name of the rule about the emotions and images of a version


def integrity_rules(name: str, version: Version, folder: Path) -> list[Rule]:
    """Check that the files are unchanged since registration and safe to load; stop at the first failure."""
    results: list[Rule] = []
    for title, check in CHECKS.items():
        try:
            results.append(check(name, version, folder))
        except Exception as error:  # noqa: BLE001  a file that cannot be loaded fails the check
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            results.append(integrity_rule(title, reason, "can be read and loaded", False))
        if not results[-1].passed:
            break
    return results


def integrity_rule(name: str, value: str, threshold: str, passed: bool) -> Rule:
    """A rule about the integrity of a version."""
    return Rule(name=name, kind="integrity", value=value, threshold=threshold, passed=passed)


def files_rule(name: str, version: Version, folder: Path) -> Rule:
    """Check that the files are unchanged since registration."""
    changed = changed_files(version, folder)
    value = "unchanged"
    if not version.files_digest:
        value = "no digests recorded"
    elif changed:
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        value = f"changed: {changed[0]}{others}"
    return integrity_rule("files", value, "as registered", value == "unchanged")


def provenance_rule(name: str, version: Version, folder: Path) -> Rule:
    """Check that a key of the project signed the version as it is, if the project lists keys."""
    try:
        signed = verify_version(name, version, downloaded_digests(folder))
    except SignatureError as error:
        return integrity_rule("provenance", str(error), "signed by a key in keys/", False)
    value = f"signed by {signed[1]}" if signed else UNSIGNED
    return integrity_rule("provenance", value, "signed, if the project has keys", True)


def _operations_rule(name: str, version: Version, folder: Path) -> Rule:
    disallowed = disallowed_ops(saved_model_of(folder))
    listed = ", ".join(f"{operation} in {place}" for operation, place in sorted(disallowed.items())[:3])
    return integrity_rule("operations", listed or "all allowed", "no files, no randomness, no Python", not disallowed)


def _signature_rule(name: str, version: Version, folder: Path) -> Rule:
    from emotion.inference.load import load_saved_model

    model = load_saved_model(saved_model_of(folder))
    is_expected = has_expected_signature(folder, model)
    expected = f"{model.input_shape} float32 to {len(model.emotions)}"
    return integrity_rule("signature", expected if is_expected else "different", expected, is_expected)


def _flavor_rule(name: str, version: Version, folder: Path) -> Rule:
    passed = has_only_saved_model(folder)
    value = "only the SavedModel" if passed else "other code or files, see MLmodel"
    return integrity_rule("MLflow flavor", value, "only the SavedModel", passed)


def _prediction_rule(name: str, version: Version, folder: Path) -> Rule:
    from emotion.inference.load import load_saved_model, predict

    model = load_saved_model(saved_model_of(folder))
    face = input_example(model.input_shape).astype(np.uint8)
    first, second = predict(model, face, 1), predict(model, face, 1)
    passed = first.shape == (1, len(model.emotions)) and are_distributions(first)
    value = "a distribution" if passed else f"shape {first.shape}, sum {first.sum():.3g}"
    if passed and not np.array_equal(first, second):
        value, passed = "differs between two calls", False
    return integrity_rule("prediction", value, "a distribution", passed)


def classes_rule(model: Model, test: Split) -> Rule:
    """Check that a version tells the emotions of the test images, in images of their kind."""
    ours = describe_classes(model.emotions, model.input_shape)
    same, passed = "those of the test images", ours == describe_classes(test.emotions, test.input_shape)
    return integrity_rule(CLASSES, same if passed else ours, same, passed)


CHECKS: dict[str, Callable[[str, Version, Path], Rule]] = {
    "files": files_rule,
    "provenance": provenance_rule,
    "operations": _operations_rule,
    "MLflow flavor": _flavor_rule,
    "signature": _signature_rule,
    "prediction": _prediction_rule,
}
