"""Labelled faces in the forms in which people hold them: names, columns and quirks of the originals, with own pictures.

Each function writes a folder with a few distinct images, and returns what it means: the emotion of each image, by the
name that the image has after `fetch`.
"""

import csv
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from emotion.data.labels import EMOTIONS
from emotion.data.layouts.words import NUMBERINGS, PUBLISHED
from support.archives import noise

Truth = dict[str, str]
Writer = Callable[..., Truth]
FERPLUS_HEADER = ["Usage", "Image name", "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear",
                  "contempt", "unknown", "NF"]  # fmt: skip
FERPLUS_WORDS = {"neutral": "neutral", "happiness": "happy", "surprise": "surprise", "sadness": "sad",
                 "anger": "angry", "disgust": "disgust", "fear": "fear", "contempt": "contempt"}  # fmt: skip
USAGES = ("Training", "PublicTest", "PrivateTest")


def write(folder: Path, name: str, content: bytes | str = b"") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def pixels(seed: int) -> str:
    return " ".join(map(str, np.random.default_rng(seed).integers(0, 256, 48 * 48)))


def number_of(numbering: str, emotion: str) -> int:
    return next(number for number, name in NUMBERINGS[numbering].items() if name == emotion)


def fer2013(folder: Path, each: int = 4, quirks: bool = False, file: str = "fer2013.csv") -> Truth:
    """`fer2013.csv`; with quirks, `icml_face_data.csv`, whose column names have leading blanks."""
    rows = [(usage, emotion) for usage in USAGES for emotion in EMOTIONS for _ in range(each)]
    header = ["emotion", " Usage", " pixels"] if quirks else ["emotion", "pixels", "Usage"]
    table: list[list[object]] = [list(header)]
    for row, (usage, emotion) in enumerate(rows):
        cells = {"emotion": number_of("fer2013", emotion), "pixels": pixels(row), "Usage": usage}
        table.append([cells[column.strip()] for column in header])
    write_csv(folder / ("icml_face_data.csv" if quirks else file), table)
    return {f"fer{row:07d}.png": emotion for row, (_, emotion) in enumerate(rows)}


def published_fer2013(folder: Path, permuted: Mapping[int, int] | None = None, usage: bool = True) -> None:
    """As many rows of each number and Usage as FER-2013 has, with one pixel each; or only `train.csv`."""
    table: list[list[object]] = [["emotion", "pixels", *(["Usage"] if usage else [])]]
    for name, counts in PUBLISHED["fer2013"][0].items():
        for number, count in enumerate(counts):
            if usage or name == "Training":
                row = [(permuted or {}).get(number, number), "0", *([name] if usage else [])]
                table += [row] * count
    write_csv(folder / ("fer2013.csv" if usage else "train.csv"), table)


def ferplus_tables(folder: Path, each: int = 4, shuffled: bool = False) -> Truth:
    """FER+'s votes beside `fer2013.csv`; rows without a face have no name, and use up no number."""
    truth = fer2013(folder, each)
    names = list(truth)
    votes: list[list[object]] = [list(FERPLUS_HEADER)]
    result: Truth = {}
    number = 0
    for row, (name, emotion) in enumerate(truth.items()):
        usage = USAGES[row // (len(truth) // 3)]
        word = next(word for word, meaning in FERPLUS_WORDS.items() if meaning == emotion)
        cells = dict.fromkeys(FERPLUS_HEADER[2:], 0)
        kind = row % 12
        if kind == 11:
            cells["NF"] = 10
        elif kind == 10:
            cells |= {word: 4, "unknown": 2, "neutral" if word != "neutral" else "sadness": 4}
        else:
            cells |= {word: 7, "contempt": 2, "unknown": 1}
            result[name] = emotion
        votes.append([usage, "" if kind == 11 else f"fer{number:07d}.png", *cells.values()])
        number += kind != 11
    if shuffled:
        votes[1:] = [votes[1 + it] for it in np.random.default_rng(0).permutation(len(names))]
        for number, cells_of_row in enumerate(votes[1:]):
            cells_of_row[0] = USAGES[number // (len(names) // 3)]
    write_csv(folder / "fer2013new.csv", votes)
    return result


def ferplus_folders(folder: Path, each: int = 4) -> Truth:
    """FER+'s images as files, in a folder per usage, with its table of votes."""
    ferplus_tables(folder, each)
    with (folder / "fer2013new.csv").open() as file:
        rows = list(csv.DictReader(file))
    (folder / "fer2013.csv").unlink()
    places = dict(zip(USAGES, ("FER2013Train", "FER2013Valid", "FER2013Test"), strict=True))
    truth: Truth = {}
    for row in rows:
        if row["Image name"]:
            name = f"{places[row['Usage']]}/{row['Image name']}"
            write(folder, name, noise(len(truth)))
            best = max(FERPLUS_WORDS, key=lambda word: int(row[word]))
            if int(row[best]) > 4:
                truth[name] = FERPLUS_WORDS[best]
    return truth


def rafdb(folder: Path, counts: Mapping[str, Iterable[int]] | None = None, permuted: Mapping[int, int] | None = None,
          images: Callable[[int], bytes] = lambda number: b"") -> Truth:  # fmt: skip
    """RAF-DB's list of labels and aligned images; by default, as many as it has, without content."""
    lines: list[str] = []
    truth: Truth = {}
    for part, of_number in (counts or PUBLISHED["rafdb"][0]).items():
        index = 0
        for number, count in enumerate(of_number, start=1):
            for _ in range(count):
                index += 1
                stem = f"{part}_{index:0{5 if part == 'train' else 4}d}"
                lines.append(f"{stem}.jpg {(permuted or {}).get(number, number)}")
                name = f"Image/aligned/{stem}_aligned.jpg"
                write(folder, name, images(len(lines)))
                truth[name] = str(NUMBERINGS["rafdb"][number])
    write(folder, "EmoLabel/list_patition_label.txt", "".join(f"{line}\n" for line in lines))
    landmarks = "1.5\t2.5\n" * 5
    write(folder, "Annotation/manual/train_00001_manu_attri.txt", f"{landmarks}1\n2\n3")
    return truth


def rafdb_folders(folder: Path, permuted: Mapping[int, int] | None = None) -> Truth:
    """The copy of RAF-DB with a folder per number."""
    truth: Truth = {}
    for part, of_number in PUBLISHED["rafdb"][0].items():
        for number, count in enumerate(of_number, start=1):
            for index in range(count):
                name = f"DATASET/{part}/{(permuted or {}).get(number, number)}/{part}_{number}{index:05d}_aligned.jpg"
                write(folder, name)
                truth[name] = str(NUMBERINGS["rafdb"][number])
    return truth


def affectnet(folder: Path, each: int = 3) -> Truth:
    """AffectNet's images and annotations, each in a file; labels are texts of numbers."""
    truth: Truth = {}
    number = 0
    for part in ("train_set", "val_set"):
        for label in range(8):
            for _ in range(each):
                number += 1
                write(folder, f"{part}/images/{number}.jpg", noise(number))
                path = folder / f"{part}/annotations/{number}_exp.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, np.array(str(label)))
                np.save(path.with_name(f"{number}_val.npy"), np.array("0.5"))
                truth[f"{part}/images/{number}.jpg"] = str(NUMBERINGS["affectnet"][label])
    return truth


def affectnet_folders(folder: Path, each: int = 3) -> Truth:
    """The copy of AffectNet with a folder per number."""
    truth: Truth = {}
    for part in ("train", "val"):
        for label in range(8):
            for index in range(each):
                name = f"{part}/{label}/image{label}{index:06d}.jpg"
                write(folder, name, noise(len(truth)))
                truth[name] = str(NUMBERINGS["affectnet"][label])
    return truth


def affectnet_table(folder: Path, each: int = 3) -> Truth:
    """The copy of AffectNet whose table tells the labels, which often are not those of the folders."""
    words = ("anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    table: list[list[object]] = [["", "pth", "label", "relFCs"]]
    truth: Truth = {}
    for index in range(each * len(words)):
        word, place = words[index % 8], words[(index * 5 + 3) % 8]
        path = f"{place}/image{index:07d}.jpg"
        write(folder, path, noise(index))
        table.append([index, path, word, 0.7 + index / 1000])
        truth[path] = {"anger": "angry"}.get(word, word)
    write_csv(folder / "labels.csv", table)
    return truth


def ckplus(folder: Path, counts: Iterable[int] = PUBLISHED["ckplus"][0][""],
           permuted: Mapping[int, int] | None = None) -> Truth:  # fmt: skip
    """CK+: sequences of a subject, and a number for the last image of those that are labelled."""
    truth: Truth = {}
    index = 0
    for number, count in enumerate(counts):
        for _ in range(count):
            index += 1
            place = f"S{index % 60 + 1:03d}/{index // 60 + 1:03d}"
            stem = place.replace("/", "_") + "_00000011"
            write(folder, f"cohn-kanade-images/{place}/{stem.replace('11', '01')}.png")
            write(folder, f"cohn-kanade-images/{place}/{stem}.png", noise(index))
            value = (permuted or {}).get(number, number)
            write(folder, f"Emotion/{place}/{stem}_emotion.txt", f"   {value:.7e}\n")
            truth[f"cohn-kanade-images/{place}/{stem}.png"] = str(NUMBERINGS["ckplus"][number])
    return truth


def ckplus48(folder: Path, each: int = 6) -> Truth:
    """The copy of CK+ with a folder per emotion, without neutral and without splits."""
    words = {"anger": "angry", "contempt": "contempt", "disgust": "disgust", "fear": "fear", "happy": "happy",
             "sadness": "sad", "surprise": "surprise"}  # fmt: skip
    truth: Truth = {}
    for word, emotion in words.items():
        for index in range(each):
            name = f"CK+48/{word}/S{index + 1:03d}_004_000000{17 + index}.png"
            write(folder, name, noise(len(truth)))
            truth[name] = emotion
    return truth


def jaffe(folder: Path, takes: int = 3) -> Truth:
    """JAFFE: names tell the person, the emotion and the take."""
    codes = {"AN": "angry", "DI": "disgust", "FE": "fear", "HA": "happy", "NE": "neutral", "SA": "sad",
             "SU": "surprise"}  # fmt: skip
    truth: Truth = {}
    for person in ("KA", "KL", "KM", "KR", "MK", "NA", "NM", "TM", "UY", "YM"):
        for code, emotion in codes.items():
            for take in range(1, takes + 1):
                name = f"jaffe/{person}.{code}{take}.{len(truth) + 1}.tiff"
                write(folder, name, noise(len(truth)))
                truth[name] = emotion
    write(folder, "jaffe/README", "The JAFFE images")
    return truth


def own_folders(folder: Path, each: int = 12, words: Iterable[str] = ("Joy", "ANGER", "sadness", "surprised")) -> Truth:
    """Folders in people's own words, without splits."""
    meaning = {"joy": "happy", "anger": "angry", "sadness": "sad", "surprised": "surprise"}
    truth: Truth = {}
    for word in words:
        for index in range(each):
            name = f"{word}/photo {index}.png"
            write(folder, name, noise(len(truth)))
            truth[name] = meaning.get(word.lower(), word)
    return truth


def split_folders(folder: Path, names: Mapping[str, str], each: int = 4) -> Truth:
    """Folders of emotions below folders of splits, which `names` calls in people's own words."""
    truth: Truth = {}
    for name in names.values():
        for emotion in EMOTIONS:
            for index in range(each):
                path = f"{name}/{emotion}/{index}.png"
                write(folder, path, noise(len(truth)))
                truth[path] = emotion
    return truth


def voted_table(folder: Path, each: int = 6) -> Truth:
    """A table of names, votes, attributes and splits, beside images in one folder."""
    emotions = ("angry", "happy", "contempt")
    table: list[list[object]] = [["filename", "Anger", "Happiness", "Contempt", "age", "split"]]
    truth: Truth = {}
    for index in range(3 * each * len(emotions)):
        emotion = emotions[index % 3]
        name = f"faces/{index}.png"
        write(folder, name, noise(index))
        counts = [5 if it == emotion else 1 for it in emotions]
        table.append(
            [f"{index}.png", *counts, "young" if index % 2 else "old", ("train", "dev", "test")[index // 3 % 3]]
        )
        truth[name] = emotion
    write_csv(folder / "annotations.csv", table)
    return truth
