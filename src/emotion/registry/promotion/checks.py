"""The gate's questions to a version: its files, its graph, and its answers beside the champion's."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion.data.dataset import Split
from emotion.data.labels import EMOTIONS, SIZE
from emotion.inference.op_allowlist import forbidden_operations, size
from emotion.params import Params
from emotion.registry import versions as registry
from emotion.registry.promotion import rules as gate
from emotion.registry.promotion.rules import Answers, Rule, Verdict
from emotion.registry.registration import input_example
from emotion.registry.versions import Version
from emotion.runtime.errors import UserError
from emotion.tracking import provenance

QUERIES = 100  # of the latency


def examine(settings: Params, version: Version, champion: Version | None, test: Split) -> Verdict:
    """Every rule about a version's files as the registry has them, and their answers.

    Args:
        settings: register and evaluate are used.
        version: the candidate.
        champion: what it is compared with, or None.
        test: the images that both are asked about, in one go.

    Raises:
        UserError: where there are no test images.
    """
    if not len(test):
        raise UserError("data/faces has no test images to score versions on. `dvc repro preprocess` makes some.")
    bounds, bins = settings.register_.gate, settings.evaluate.calibration_bins
    name = settings.register_.name
    with tempfile.TemporaryDirectory() as scratch:
        folders = {
            v.number: registry.download(name, v.number, Path(scratch) / v.number) for v in (version, champion) if v
        }
        rules = sound(version, folders[version.number])
        against = champion.number if champion else None
        if not all(rule.passed for rule in rules):
            return Verdict(version=version.number, champion=against, rules=tuple(rules), figures={})
        can_compare = champion is not None and all(r.passed for r in sound(champion, folders[champion.number]))
        asked = [version.number, *([champion.number] if champion and can_compare else [])]
        answers = _answers([registry.saved_model_of(folders[number]) for number in asked], test, settings)
    if not _are_distributions(answers[0].probabilities):
        rules.append(_sound_rule("answers", "not all are distributions", "distributions", False))
        return Verdict(version=version.number, champion=against, rules=tuple(rules), figures={})
    rules += gate.absolute(bounds, test.labels, answers[0], bins)
    figures = gate.figures(test.labels, "candidate", answers[0], bins)
    emotions: gate.Emotions = ()
    rules += _data_rules(version)
    if can_compare:
        figures |= gate.figures(test.labels, "champion", answers[1], bins)
        emotions = gate.per_emotion(test.labels, answers[0], answers[1])
        rules += gate.comparison(bounds, test.labels, answers[0], answers[1], emotions)
    elif champion:
        rules.append(
            Rule(
                name="the champion can be asked", kind="comparison", figure="its files are not as registered",
                bound="sound", passed=False,
            )
        )  # fmt: skip
    return Verdict(
        version=version.number, champion=against, rules=tuple(rules), figures=figures, emotions=emotions
    )  # fmt: skip


def sound(version: Version, folder: Path) -> list[Rule]:
    """Whether the files are those that were registered, and safe to ask. Stops at the first that is not."""
    rules: list[Rule] = []
    for name, check in CHECKS.items():
        try:
            rules.append(check(version, folder))
        except Exception as error:  # noqa: BLE001  what cannot even be read or asked is not sound
            what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            rules.append(_sound_rule(name, what, "can be read and asked", False))
        if not rules[-1].passed:
            break
    return rules


def _sound_rule(name: str, figure: str, bound: str, passed: bool) -> Rule:
    return Rule(name=name, kind="sound", figure=figure, bound=bound, passed=passed)


def files_rule(version: Version, folder: Path) -> Rule:
    """Whether the files are those that were registered."""
    registered, found = version.files, registry.file_digests(folder)
    changed = sorted(path for path in {*registered, *found} if registered.get(path) != found.get(path))
    figure = f"{len(found)} files"
    if not registered:
        figure = "no digests on record"
    elif changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        figure = f"changed: {changed[0]}{more}"
    return _sound_rule("files", figure, "as registered", not changed and bool(registered))


def _operations_rule(version: Version, folder: Path) -> Rule:
    forbidden = forbidden_operations(registry.saved_model_of(folder))
    named = ", ".join(f"{operation} in {place}" for operation, place in sorted(forbidden.items())[:3])
    return _sound_rule("operations", named or "all pure", "no files, no chance, no Python", not forbidden)


def _signature_rule(version: Version, folder: Path) -> Rule:
    fits = registry.has_the_signature(folder)
    bound = f"({SIZE}, {SIZE}, 1) float32 to {len(EMOTIONS)}"
    return _sound_rule("signature", bound if fits else "another", bound, fits)


def _flavor_rule(version: Version, folder: Path) -> Rule:
    well = registry.serves_its_saved_model(folder)
    figure = "only the SavedModel" if well else "other code or files, see MLmodel"
    return _sound_rule("what MLflow would run", figure, "only the SavedModel", well)


def _answer_rule(version: Version, folder: Path) -> Rule:
    from emotion.inference.load import load_saved_model, predict

    face = input_example()[..., 0].astype(np.uint8)
    model = load_saved_model(registry.saved_model_of(folder))
    once, again = predict(model, face, 1), predict(model, face, 1)
    well = once.shape == (1, len(EMOTIONS)) and _are_distributions(once)
    figure = "a distribution" if well else f"shape {once.shape}, sum {once.sum():.3g}"
    if well and not np.array_equal(once, again):
        figure, well = "another one each time", False
    return _sound_rule("answer", figure, "a distribution", well)


def _are_distributions(probabilities: NDArray[np.float32]) -> bool:
    return bool((probabilities >= 0).all() and (np.abs(probabilities.sum(axis=1) - 1) < 1e-3).all())


CHECKS: dict[str, Callable[[Version, Path], Rule]] = {
    "files": files_rule,
    "operations": _operations_rule,
    "what MLflow would run": _flavor_rule,
    "signature": _signature_rule,
    "answer": _answer_rule,
}


def _data_rules(version: Version) -> list[Rule]:
    """Today's test images may have been in the training of a version of other data."""
    here, there = provenance.data_hash(), version.tags.get("data.dvc_hash", "unknown")
    if "unknown" in (here, there):
        return []
    figure = "these faces" if here == there else f"others: {there[:8]}, here are {here[:8]}"
    return [Rule(name="trained on", kind="comparison", figure=figure, bound="these faces", passed=here == there)]


def _answers(folders: list[Path], test: Split, settings: Params) -> list[Answers]:
    """Of every model to the same images; latencies in turn, so that noise hits all alike."""
    from emotion.inference.load import load_saved_model, predict, seconds

    models = [load_saved_model(folder) for folder in folders]
    latencies: list[list[float]] = [[] for _ in models]
    for _ in range(QUERIES):
        for model, taken in zip(models, latencies, strict=True):
            taken.append(seconds(partial(predict, model, test.images[:1], 1)))
    return [
        Answers(
            predict(model, test.images, settings.evaluate.batch_size),
            1000 * float(np.median(taken[1:])),  # the first query prepares
            size(folder) / 2**20,
        )
        for model, taken, folder in zip(models, latencies, folders, strict=True)
    ]
