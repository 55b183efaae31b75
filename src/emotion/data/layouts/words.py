"""What labels mean: the words that people use for emotions and splits, and the numberings of known datasets."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

WORDS = {
    "angry": ("angry", "anger", "angered"),
    "contempt": ("contempt", "contemptuous"),
    "disgust": ("disgust", "disgusted"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happy": ("happy", "happiness", "joy", "joyful"),
    "neutral": ("neutral", "neutrality"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
}
EMOTION_OF = {word: emotion for emotion, words in WORDS.items() for word in words}
SPLIT_OF = {
    "train images": "train", "val images": "validation", "validation images": "validation", "test images": "test",
    "train": "train", "training": "train", "train set": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "val set": "validation", "validation set": "validation",
    "test": "test", "testing": "test", "test set": "test",
}  # fmt: skip
# The numberings in use, by the name that fetch.labels accepts; None is a class without an emotion.
NUMBERINGS: Mapping[str, Mapping[int, str | None]] = {
    "fer2013": dict(enumerate(("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"))),
    "ferplus": dict(enumerate(("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))),
    "rafdb": dict(enumerate(("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"), start=1)),
    "affectnet": dict(
        enumerate(("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt", None, None, None))
    ),
    "ckplus": dict(enumerate(("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"))),
    "alphabetical7": dict(enumerate(("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"))),
    "alphabetical8": dict(enumerate(sorted(WORDS))),
}
# Images per number, in the order of the numbering, by usage or split: if the data has exactly these, its numbers have
# their published meaning. Goodfellow et al. (2013), the second without Usage; Li et al. (2017); Lucey et al. (2010).
PUBLISHED: Mapping[str, tuple[Mapping[str, tuple[int, ...]], ...]] = {
    "fer2013": (
        {
            "Training": (3995, 436, 4097, 7215, 4830, 3171, 4965),
            "PublicTest": (467, 56, 496, 895, 653, 415, 607),
            "PrivateTest": (491, 55, 528, 879, 594, 416, 626),
        },
        {"": (3995, 436, 4097, 7215, 4830, 3171, 4965)},
    ),
    "rafdb": ({"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)},),
    "ckplus": ({"": (0, 45, 18, 59, 25, 69, 28, 83)},),
}
MIN_SIMILARITY = 0.75  # of an unknown label to a known word, from which on it is taken for a misspelling
RESERVED = {  # not names of emotions: columns of tables, and what has another meaning
    "actual", "all", "answer", "caution", "confidence", "detection", "drop", "error", "face", "image", "keep", "left",
    "model", "name", "novelty", "predicted", "reason", "side", "soften", "status", "top", "unsure",
}  # fmt: skip


def normalize(label: str) -> str:
    """A label without differences of case, blanks, underscores and a number in front, as in `0_Angry`."""
    text = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", label)).strip().casefold()
    return re.sub(r"^\d+[ .]+(?=\D)", "", text)


def is_number(label: str) -> bool:
    """Whether a label is a whole number, which has no meaning of its own."""
    return re.fullmatch(r"\d{1,3}(\.0+)?", label.strip()) is not None


def to_number(label: str) -> int:
    """The number that a label is; see `is_number`."""
    return int(float(label))


@dataclass(frozen=True)
class LabelMap:
    """What labels mean: as fetch.labels says, or else as the words say.

    Args:
        given: labels as the data has them, and their emotions; None leaves the images out.
        numbering: a key of NUMBERINGS.
    """

    given: Mapping[str, str | None] = field(default_factory=dict)
    numbering: str | None = None

    @classmethod
    def from_parameter(cls, labels: str | Mapping[str | int, str | None] | None) -> "LabelMap":
        """The meanings that fetch.labels states: the name of a numbering, or a mapping.

        Raises:
            ValueError: if two labels are the same but for case and blanks, or one is empty.
        """
        if isinstance(labels, str):
            return cls(numbering=labels)
        given: dict[str, str | None] = {}
        for label, emotion in (labels or {}).items():
            key = label_key(str(label))
            if not key or key in given:
                raise ValueError(f"the label {label!r} is {'given twice' if key else 'empty'}")
            given[key] = emotion
        return cls(given)

    @property
    def numbers(self) -> Mapping[int, str | None] | None:
        """The emotions of numbers; None if nothing is said about numbers."""
        if self.numbering:
            return NUMBERINGS[self.numbering]
        numbers = {to_number(label): emotion for label, emotion in self.given.items() if is_number(label)}
        return numbers or None

    def knows(self, label: str) -> bool:
        """Whether a word has a meaning, which may be to leave the image out."""
        return label_key(label) in self.given or normalize(label) in EMOTION_OF

    def emotion(self, label: str) -> str | None:
        """The emotion of a word; None if it has none."""
        return self.given.get(label_key(label), EMOTION_OF.get(normalize(label)))

    def similar(self, label: str) -> str | None:
        """The word that an unknown label may be a misspelling of."""
        known = [*EMOTION_OF, *self.given]
        return next(iter(get_close_matches(normalize(label), known, n=1, cutoff=MIN_SIMILARITY)), None)


def label_key(label: str) -> str:
    """A label as it is compared: a number as such, or without differences of case and blanks."""
    return str(to_number(label)) if is_number(label) else normalize(label)


def split_of(name: str) -> str:
    """The split that a folder or a cell names: train, validation or test; empty if it names none."""
    return SPLIT_OF.get(normalize(name), "")
