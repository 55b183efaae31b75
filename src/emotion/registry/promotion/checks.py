"""The gate's checks of a version: its files, its graph, and its predictions compared with the champion's."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS, IMAGE_SIZE
from emotion.inference.op_allowlist import disallowed_ops
from emotion.params.sections import Params
from emotion.registry.promotion import rules
from emotion.registry.promotion.rules import Predictions, Rule, Verdict
from emotion.registry.signature import (
    has_expected_signature,
    has_only_saved_model,
    input_example,
    saved_model_of,
)
from emotion.registry.versions import Version, changed_files, download_version
from emotion.runtime.errors import UserError
from emotion.runtime.files import folder_size
from emotion.tracking import provenance

LATENCY_CALLS = 100


def run_gate(params: Params, version: Version, champion: Version | None, test: Split) -> Verdict:
    """Apply every rule to a version's files from the registry, and to their predictions.

    Args:
        params: only the sections `register` and `evaluate` are used.
        version: the candidate.
        champion: the version to compare it with, or None.
        test: the test images that both versions predict.

    Raises:
        UserError: if there are no test images.
    """
    if not len(test):
        raise UserError("data/faces has no test images to score versions on. Run `dvc repro preprocess`.")
    settings, bins, name = params.register_.gate, params.evaluate.calibration_bins, params.register_.name
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            v.number: download_version(name, v.number, Path(scratch) / v.number) for v in (version, champion) if v
        }
        results = integrity_rules(version, folders[version.number])
        against = champion.number if champion else None
        if not all(rule.passed for rule in results):
            return Verdict(version=version.number, champion=against, rules=tuple(results))
        is_comparable = champion is not None and all(
            rule.passed for rule in integrity_rules(champion, folders[champion.number])
        )
        compared = [version.number, *([champion.number] if champion and is_comparable else [])]
        predictions = _predict([saved_model_of(folders[number]) for number in compared], test, params)
    candidate, *champions = predictions
    if not _are_distributions(candidate.probabilities):
        results.append(_integrity_rule("predictions", "some do not sum to 1 or are negative", "distributions", False))
        return Verdict(version=version.number, champion=against, rules=tuple(results))
    results += rules.threshold_rules(settings, test.labels, candidate, bins)
    metrics = rules.gate_metrics(test.labels, "candidate", candidate, bins)
    emotions: rules.Emotions = ()
    results += _data_rules(version)
    for reference in champions:  # at most one
        metrics |= rules.gate_metrics(test.labels, "champion", reference, bins)
        emotions = rules.compare_emotions(test.labels, candidate, reference)
        results += rules.comparison_rules(settings, test.labels, candidate, reference, emotions)
    if champion and not champions:
        results.append(
            Rule(
                name="the champion's files", kind="comparison", value="changed since registration",
                threshold="as registered", passed=False,
            )
        )  # fmt: skip
    return Verdict(
        version=version.number, champion=against, rules=tuple(results), metrics=metrics, emotions=emotions
    )  # fmt: skip


def integrity_rules(version: Version, folder: Path) -> list[Rule]:
    """Check that the files are unchanged since registration and safe to load; stop at the first failure."""
    results: list[Rule] = []
    for name, check in CHECKS.items():
        try:
            results.append(check(version, folder))
        except Exception as error:  # noqa: BLE001  a file that cannot be loaded fails the check
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            results.append(_integrity_rule(name, reason, "can be read and loaded", False))
        if not results[-1].passed:
            break
    return results


def _integrity_rule(name: str, value: str, threshold: str, passed: bool) -> Rule:
    return Rule(name=name, kind="integrity", value=value, threshold=threshold, passed=passed)


def files_rule(version: Version, folder: Path) -> Rule:
    """Check that the files are unchanged since registration."""
    changed = changed_files(version, folder)
    value = "unchanged"
    if not version.files_digest:
        value = "no digests recorded"
    elif changed:
        others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        value = f"changed: {changed[0]}{others}"
    return _integrity_rule("files", value, "as registered", value == "unchanged")


def _operations_rule(version: Version, folder: Path) -> Rule:
    disallowed = disallowed_ops(saved_model_of(folder))
    listed = ", ".join(f"{operation} in {place}" for operation, place in sorted(disallowed.items())[:3])
    return _integrity_rule("operations", listed or "all allowed", "no files, no randomness, no Python", not disallowed)


def _signature_rule(version: Version, folder: Path) -> Rule:
    is_expected = has_expected_signature(folder)
    expected = f"({IMAGE_SIZE}, {IMAGE_SIZE}, 1) float32 to {len(EMOTIONS)}"
    return _integrity_rule("signature", expected if is_expected else "different", expected, is_expected)


def _flavor_rule(version: Version, folder: Path) -> Rule:
    passed = has_only_saved_model(folder)
    value = "only the SavedModel" if passed else "other code or files, see MLmodel"
    return _integrity_rule("MLflow flavor", value, "only the SavedModel", passed)


def _prediction_rule(version: Version, folder: Path) -> Rule:
    from emotion.inference.load import load_saved_model, predict

    face = input_example()[..., 0].astype(np.uint8)
    model = load_saved_model(saved_model_of(folder))
    first, second = predict(model, face, 1), predict(model, face, 1)
    passed = first.shape == (1, len(EMOTIONS)) and _are_distributions(first)
    value = "a distribution" if passed else f"shape {first.shape}, sum {first.sum():.3g}"
    if passed and not np.array_equal(first, second):
        value, passed = "differs between two calls", False
    return _integrity_rule("prediction", value, "a distribution", passed)


def _are_distributions(probabilities: NDArray[np.float32]) -> bool:
    return bool((probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) < 1e-3).all())


CHECKS: dict[str, Callable[[Version, Path], Rule]] = {
    "files": files_rule,
    "operations": _operations_rule,
    "MLflow flavor": _flavor_rule,
    "signature": _signature_rule,
    "prediction": _prediction_rule,
}


def _data_rules(version: Version) -> list[Rule]:
    """Check the training data: other data may include some of the current test images."""
    here, there = provenance.data_hash(), version.tags.get("data.dvc_hash", "unknown")
    if "unknown" in (here, there):
        return []
    value = "this dataset" if here == there else f"another dataset: {there[:8]}, not {here[:8]}"
    return [Rule(name="training data", kind="comparison", value=value, threshold="this dataset", passed=here == there)]


def _predict(folders: list[Path], test: Split, params: Params) -> list[Predictions]:
    """Predict the same images with all models, and time them in turn, so that noise affects all equally."""
    from emotion.inference.benchmark import time_call
    from emotion.inference.load import load_saved_model, predict

    models = [load_saved_model(folder) for folder in folders]
    latencies: list[list[float]] = [[] for _ in models]
    for _ in range(LATENCY_CALLS):
        for model, times in zip(models, latencies, strict=True):
            times.append(time_call(partial(predict, model, test.images[:1], 1)))
    return [
        Predictions(
            predict(model, test.images, params.evaluate.batch_size),
            1000 * float(np.median(times[1:])),  # the first call is slower
            folder_size(folder) / 2**20,
        )
        for model, times, folder in zip(models, latencies, folders, strict=True)
    ]
