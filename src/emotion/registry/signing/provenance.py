"""What the signature of a version states: its files, and how they came about.

The statement has the form of in-toto's attestations (https://in-toto.io/Statement/v1) with SLSA's provenance
(https://slsa.dev/provenance/v1) as its predicate.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError
from securesystemslib.signer import Key

from emotion.params.validation import Section
from emotion.registry.signing.envelope import STATEMENT, SignatureError, verify

PROVENANCE = "source/provenance.json"  # an artifact of the run: the signed statement
RESTORE = f"Restore {PROVENANCE} of its run from a backup."
# Tags that something depends on, by the beginning of their names: none of them may be added after signing.
TRUSTED_TAGS = ("data", "dvc.", "files.", "git.", "saved_model.", "test", "trained_in", "unsure_below", "use.")
UNSIGNED_TAGS = ("gate.", "reproduced")  # tags that change after registration, by the beginning of their names


class Digest(Section):
    """A file or a source, and its digests by algorithm."""

    name: str
    digest: dict[str, str]


class ExternalParameters(Section):
    """What the version is, and the parameters of its training."""

    model: str
    version: str
    parameters: dict[str, str]
    tags: dict[str, str]  # of the version: scores, data, intended use, ...


class BuildDefinition(Section):
    """How the version was made."""

    build_type: Literal["urn:emotion:dvc-repro:v1"] = Field("urn:emotion:dvc-repro:v1", alias="buildType")
    external_parameters: ExternalParameters = Field(alias="externalParameters")
    resolved_dependencies: tuple[Digest, ...] = Field(alias="resolvedDependencies")  # code and data


class Builder(Section):
    """The machine that trained it."""

    id: str


class RunMetadata(Section):
    """The MLflow run that trained it."""

    invocation_id: str = Field(alias="invocationId")


class Byproduct(Section):
    """What else the training led to."""

    name: str
    annotations: dict[str, float]


class RunDetails(Section):
    """Where the version was made."""

    builder: Builder
    metadata: RunMetadata
    byproducts: tuple[Byproduct, ...]


class Provenance(Section):
    """The predicate."""

    build_definition: BuildDefinition = Field(alias="buildDefinition")
    run_details: RunDetails = Field(alias="runDetails")


class Statement(Section):
    """A statement about a version."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: tuple[Digest, ...]
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = Field(
        "https://slsa.dev/provenance/v1", alias="predicateType"
    )
    predicate: Provenance

    @property
    def facts(self) -> ExternalParameters:
        """What the version is."""
        return self.predicate.build_definition.external_parameters

    @property
    def run_id(self) -> str:
        """The MLflow run that trained it."""
        return self.predicate.run_details.metadata.invocation_id

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file by path."""
        return {file.name: file.digest.get("sha256", "") for file in self.subject}

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the exported model."""
        return {key: value for it in self.predicate.run_details.byproducts for key, value in it.annotations.items()}

    def source(self, name: str) -> str:
        """The digest of a source, such as `train.patch`; empty if there is none."""
        sources = self.predicate.build_definition.resolved_dependencies
        return next((digest for it in sources if it.name == name for digest in it.digest.values()), "")

    def check(self, model: str, number: str, run_id: str, tags: Mapping[str, str]) -> None:
        """Check that this is about a version as the registry shows it.

        Raises:
            SignatureError: if it is about another one, or a tag differs.
        """
        what = f"the signed provenance of {model} version {number}"
        if (self.facts.model, self.facts.version) != (model, number):
            raise SignatureError(f"{what} is that of {self.facts.model} version {self.facts.version}. {RESTORE}")
        if self.run_id != run_id:
            raise SignatureError(f"{what} is about the run {self.run_id}, not {run_id}. {RESTORE}")
        added = {key: None for key in tags if key.startswith(TRUSTED_TAGS) and key not in self.facts.tags}
        for key, value in {**self.facts.tags, **added}.items():
            if tags.get(key) != value:
                raise SignatureError(
                    f"the tag {key} of {model} version {number} should be {value!r}, as signed, got {tags.get(key)!r}."
                    f" Set it back in MLflow, or sign the version again with `emotion keys sign {number}`."
                )


def signed_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a version that its signature covers."""
    return {key: value for key, value in tags.items() if not key.startswith((*UNSIGNED_TAGS, "mlflow."))}


def state_provenance(
    model: str,
    number: str,
    run_id: str,
    files: Mapping[str, str],
    tags: Mapping[str, str],
    sources: Mapping[str, Mapping[str, str]],
    parameters: Mapping[str, str],
    metrics: Mapping[str, float],
    machine: str,
) -> dict[str, Any]:
    """The statement about a version.

    Args:
        model: the name of the registered model.
        number: of the version.
        run_id: of the run that trained it.
        files: the SHA-256 of each file by path.
        tags: of the version.
        sources: the digests of code and data, by name and algorithm; those without a digest are left out.
        parameters: of the run.
        metrics: of the run.
        machine: that trained it.
    """
    known = {name: {key: value for key, value in digests.items() if value} for name, digests in sources.items()}
    statement = Statement.model_validate(
        {
            "subject": [{"name": path, "digest": {"sha256": digest}} for path, digest in sorted(files.items())],
            "predicate": {
                "buildDefinition": {
                    "externalParameters": {
                        "model": model,
                        "version": number,
                        "parameters": dict(parameters),
                        "tags": signed_tags(tags),
                    },
                    "resolvedDependencies": [
                        {"name": name, "digest": digests} for name, digests in known.items() if digests
                    ],
                },
                "runDetails": {
                    "builder": {"id": machine},
                    "metadata": {"invocationId": run_id},
                    "byproducts": [{"name": "metrics", "annotations": dict(metrics)}],
                },
            },
        }
    )
    return statement.model_dump(by_alias=True, mode="json")


def read_statement(text: str, trusted: Mapping[str, Key], what: str) -> tuple[Statement, str]:
    """Verify a signed statement; return it, and the name of the key that signed it.

    Raises:
        SignatureError: if it is not signed by a trusted key, or it is not such a statement.
    """
    document, signer = verify(text, STATEMENT, trusted, what)
    try:
        return Statement.model_validate(document), signer
    except ValidationError as error:
        raise SignatureError(f"{what} was written by a newer release. Update this program.") from error
