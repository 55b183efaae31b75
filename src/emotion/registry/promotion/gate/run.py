"""Run the gate: check a version's files, get its predictions and those of other versions, and judge it."""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from securesystemslib.signer import CryptoSigner

from emotion.data.dataset import Split, describe_classes
from emotion.inference.load import Model
from emotion.params.sections import Params
from emotion.registry.promotion.gate import wear
from emotion.registry.promotion.gate.answers import are_distributions, keep_answers, read_answers
from emotion.registry.promotion.gate.checks import CLASSES, classes_rule, integrity_rule, integrity_rules
from emotion.registry.promotion.gate.judge import Scored, judge, judge_alone
from emotion.registry.promotion.gate.rules import Measured, Probabilities, Rule, Verdict
from emotion.registry.signature import saved_model_of
from emotion.registry.signing.envelope import SignatureError
from emotion.registry.signing.keys import trusted_keys
from emotion.registry.signing.versions import verify_version
from emotion.registry.versions import Version, download_version
from emotion.runtime.errors import UserError
from emotion.runtime.files import folder_size
from emotion.tracking import provenance

LATENCY_CALLS = 50


@dataclass(frozen=True)
class Loaded:
    """A version whose files were downloaded and checked."""

    version: Version
    model: Model
    size_mib: float


@dataclass(frozen=True)
class Scorer:
    """Gets versions and their answers for the test images.

    Args:
        name: the name of the registered model.
        test: the test images.
        digest: of the test images.
        data: DVC's hash of the dataset; `unknown` if there is none.
        batch_size: of predictions.
        is_dry_run: whether to write nothing.
        signer: the private key, if the project has keys.
        folders: of downloaded files, which exist until it is closed.
    """

    name: str
    test: Split
    digest: str
    data: str
    batch_size: int
    is_dry_run: bool
    signer: CryptoSigner | None
    folders: ExitStack

    @property
    def shape(self) -> tuple[int, int]:
        """Of the answers: images, and emotions."""
        return len(self.test), len(self.test.emotions)

    def load(self, version: Version) -> tuple[list[Rule], Loaded | None]:
        """Download and check a version; return the rules about its integrity, and the version if it passed them."""
        from emotion.inference.load import load_saved_model

        scratch = self.folders.enter_context(tempfile.TemporaryDirectory())
        folder = download_version(self.name, version.number, Path(scratch) / version.number)
        found = integrity_rules(self.name, version, folder)
        if not all(rule.passed for rule in found):
            return found, None
        saved_model = saved_model_of(folder)
        model = load_saved_model(saved_model)
        found.append(classes_rule(model, self.test))
        if not found[-1].passed:
            return found, None
        return found, Loaded(version, model, folder_size(saved_model) / 2**20)

    def answers(self, loaded: Loaded) -> Probabilities:
        """What a version answers: as kept with it, or predicted now, and kept."""
        from emotion.inference.load import predict

        known = read_answers(loaded.version, self.digest, self.shape)
        if known is None:
            known = predict(loaded.model, self.test.images, self.batch_size)
            if not self.is_dry_run and are_distributions(known):
                keep_answers(loaded.version, self.digest, known, self.signer)
        return known

    def former_champions(self, versions: Sequence[Version]) -> tuple[list[Scored], list[Rule], list[str]]:
        """The former champions that can be compared; rules that fail for changed ones; and why others are left out."""
        scored: list[Scored] = []
        failed: list[Rule] = []
        notes: list[str] = []
        for version in versions:
            try:
                verify_version(self.name, version)
            except SignatureError as error:
                failed.append(_broken(f"integrity of version {version.number} (former champion)", str(error)))
                continue
            if not _has_data(version, self.data):
                notes.append(f"Version {version.number}, a former champion, learned from other data: not compared.")
                continue
            answers = read_answers(version, self.digest, self.shape)  # then its files are not needed
            if answers is None:
                found, loaded = self.load(version)
                if loaded is None:
                    reason = f"{found[-1].name}: {found[-1].value}"
                    if trusted_keys():
                        failed.append(_broken(f"integrity of version {version.number} (former champion)", reason))
                    else:
                        notes.append(f"Version {version.number}, a former champion, is not compared: {reason}.")
                    continue
                answers = self.answers(loaded)
            scored.append(Scored(version.number, answers))
        return scored, failed, notes

    def measure(self, *loaded: Loaded | None) -> list[Measured]:
        """Time versions in turn, so that noise affects all equally."""
        from emotion.inference.benchmark import time_call
        from emotion.inference.load import predict

        present = [it for it in loaded if it]
        latencies: list[list[float]] = [[] for _ in present]
        for _ in range(LATENCY_CALLS):
            for it, times in zip(present, latencies, strict=True):
                times.append(time_call(partial(predict, it.model, self.test.images[:1], 1)))
        return [
            Measured(1000 * float(np.median(times[1:])), it.size_mib)  # the first call is slower
            for it, times in zip(present, latencies, strict=True)
        ]


def run_gate(
    params: Params,
    version: Version,
    champion: Version | None,
    formers: Sequence[Version],
    test: Split,
    is_dry_run: bool = False,
    signer: CryptoSigner | None = None,
    missing: str = "",
) -> Verdict:
    """Apply every rule to a version's files from the registry, and to their predictions.

    Args:
        params: only the sections `register` and `evaluate` are used.
        version: the candidate.
        champion: the version to compare it with, or None.
        formers: the former champions.
        test: the test images that all versions predict.
        is_dry_run: whether to write nothing.
        signer: the private key, if the project has keys.
        missing: why the champion is missing, if it should not be.

    Raises:
        UserError: if there are no test images, or the version tells other emotions than they have.
    """
    if not len(test):
        raise UserError("data/faces has no test images to score versions on. Run `dvc repro preprocess`.")
    settings, bins, name = params.register_.gate, params.evaluate.calibration_bins, params.register_.name
    digest, data = wear.images_digest(test), provenance.data_hash()
    verdict = Verdict(version=version.number, champion=champion.number if champion else None, rules=())
    with ExitStack() as folders:
        scorer = Scorer(name, test, digest, data, params.evaluate.batch_size, is_dry_run, signer, folders)
        found, candidate = scorer.load(version)
        needed = describe_classes(test.emotions, test.input_shape)
        if candidate is None and found[-1].name == CLASSES:
            raise UserError(
                f"version {version.number} tells {found[-1].value}, but the test images have {needed}:"
                " they are not compared. Check out the data that the version learned from, or give such"
                " models another name (register.name)."
            )
        if candidate is None:
            return verdict.model_copy(update={"rules": tuple(found)})
        scored = Scored(version.number, scorer.answers(candidate))
        if not are_distributions(scored.answers):
            found.append(integrity_rule("predictions", "some do not sum to 1 or are negative", "distributions", False))
            return verdict.model_copy(update={"rules": tuple(found)})
        checked, reference = scorer.load(champion) if champion else ([], None)
        before = Scored(reference.version.number, scorer.answers(reference)) if reference else None
        former_scored, broken, notes = scorer.former_champions(formers)
        measured = scorer.measure(candidate, reference)
    broken += [_broken_champion(it) for it in checked if not it.passed]
    if missing:
        broken.append(_broken("integrity of the champion", missing))
    scored = replace(scored, measured=measured[0])
    before = replace(before, measured=measured[1]) if before else None
    alone, metrics = judge_alone(settings, test.labels, scored, before, bins)
    judged = judge(settings, test, scored, before, former_scored)
    decided = [*wear.decided_versions(name, digest), version.number]
    return verdict.model_copy(
        update={
            "former": judged.former,
            "rules": (*found, *alone, *_data_rules(version, data), *broken, *judged.rules),
            "metrics": metrics,
            "subsets": tuple(judged.subsets),
            "notes": (*notes, *judged.notes, wear.describe_wear(settings, decided, judged.comparison)),
            "images": digest,
            "uses": len(decided),
        }
    )


def _has_data(version: Version, data: str) -> bool:
    """Whether a version learned from a dataset, as far as this is known."""
    learned_from = version.tags.get("data.dvc_hash", "unknown")
    return "unknown" in (data, learned_from) or data == learned_from


def _data_rules(version: Version, data: str) -> list[Rule]:
    """Check the training data: other data may include some of the current test images."""
    learned_from = version.tags.get("data.dvc_hash", "unknown")
    if "unknown" in (data, learned_from):
        return []
    passed = _has_data(version, data)
    value = "this dataset" if passed else f"another dataset: {learned_from[:8]}, not {data[:8]}"
    return [Rule(name="training data", kind="comparison", value=value, threshold="this dataset", passed=passed)]


def _broken_champion(rule: Rule) -> Rule:
    if rule.name == CLASSES:
        reason = f"{rule.value}: another test; give such models another name (register.name), or use --force"
        return _broken("emotions of the champion", reason).model_copy(update={"threshold": rule.threshold})
    return _broken("integrity of the champion", f"{rule.name}: {rule.value}")


def _broken(name: str, reason: str) -> Rule:
    """A rule that fails because a version that the candidate should be compared with cannot be."""
    return Rule(name=name, kind="comparison", value=reason, threshold="passed", passed=False)
