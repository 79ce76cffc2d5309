"""Files of texts: the name of a data set -> its files, and which of them each split has.

| what lies there | train | validation | test |
|---|---|---|---|
| files train*, validation*, test* | theirs | theirs | theirs |
| one file | first 90 % of its bytes | next 5 % | last 5 % |
| a folder of 20 files or more | the other 18 of 20 | the 19th, 39th, ... | the 20th, 40th, ... |
| a folder of fewer files | all joined, and cut as one file | | |

Files are taken in the order of their paths, in folders within as well, and read one behind the
other; those whose name or folder begins with a dot are left out. Bytes are bytes, whatever the
encoding, but a file with NUL bytes at its beginning in a folder is refused by name: pictures and
programs are no text. `name@text` leaves such files out.
"""

import functools
import lzma
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccenv.data.npz import ENDING
from ccenv.data.registry import SPLITS
from ccenv.data.split import data_root

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Endings of images as torchvision knows them: folders that hold one are no text."""
ONE_IN = 20
"""Of so many files in a row one validates and one tests."""
LOOKED_AT = 8192
"""Bytes at the beginning of a file in which a NUL tells that it is no text."""
PACKED = ".xz"
"""Ending of a file that `lzma` reads."""
TEXT_ONLY = "text"
"""Behind the @ of a name: files that are no text are left out."""
LIBRARY_SIZES = (2_000, 400_000)
"""Bytes of the shortest and of the longest file of Python's library that is read."""
NOT_THE_LIBRARY = {"lib2to3", "site-packages", "dist-packages"}
LIBRARY = ("python_text", "python_sample")
"""Data sets of the same text."""
BUNDLED, FOLDER = "python_bundled", Path(__file__).parent
"""A text that comes with the package: its name, and where it lies."""


@dataclass(frozen=True)
class Texts:
    """Which files are a text."""

    name: str
    """of the data set, for messages."""
    place: Path
    """where they lie."""
    files: tuple[tuple[Path, ...], ...]
    """of each of `SPLITS`; of a text that is cut all files, once."""

    def read(self, split: str) -> np.ndarray:
        """All bytes of a split: uint8 [n]; ValueError if there is no file of it."""
        is_cut = len(self.files) == 1
        files = self.files[0 if is_cut else SPLITS.index(split)]
        if not files:
            raise ValueError(
                f"dataset {self.name!r}: expected files named "
                f"{', '.join(f'{s}*' for s in SPLITS)} in {self.place}, got none for {split}"
            )
        joined = np.concatenate([bytes_of(file) for file in files])
        return joined[cut_of(len(joined), split)] if is_cut else joined


def bytes_of(file: Path) -> np.ndarray:
    """Bytes of a file, of a packed one (`.xz`) those inside: uint8 [n]; ValueError if damaged."""
    if file.suffix != PACKED:
        return np.fromfile(file, np.uint8)
    try:
        return np.frombuffer(lzma.decompress(file.read_bytes()), np.uint8)
    except lzma.LZMAError as error:
        raise ValueError(f"expected a whole file {file}, got a damaged one: {error}") from error


def cut_of(length: int, split: str) -> slice:
    """Part of one text that a split is: nine tenths, a twentieth, a twentieth.

    >>> [cut_of(100, split) for split in ("train", "validation", "test")]
    [slice(0, 90, None), slice(90, 95, None), slice(95, 100, None)]
    """
    ends = [0, length * 90 // 100, length * 95 // 100, length]
    part = SPLITS.index(split)
    return slice(ends[part], ends[part + 1])


def text_path(root: Path, name: str) -> Path | None:
    """File or folder of a text by a data set's name; None where there is none, or no text."""
    base = name.removesuffix(f"@{TEXT_ONLY}")
    if not base or "@" in base or base.endswith(ENDING):
        return None
    for path in (root / base, root / f"{base}.txt"):
        if path.is_file():
            return path
    folder = root / base
    if folder == root or not folder.is_dir():
        return None
    if of_split(folder, "train"):
        return folder
    every = list(all_files(folder))
    return folder if every and not any(f.suffix.lower() in IMAGES for f in every) else None


def texts_of(path: Path, name: str) -> Texts:
    """The files of a text at a path; ValueError of one that is no text and is not left out."""
    if path.is_file():
        return Texts(name, path, ((path,),))
    if of_split(path, "train"):
        return Texts(name, path, tuple(tuple(of_split(path, split)) for split in SPLITS))
    files = list(all_files(path))
    binary = [file for file in files if is_binary(file)]
    if binary and not name.endswith(f"@{TEXT_ONLY}"):
        raise ValueError(
            f"dataset {name!r}: expected files of text in {path}, got {len(binary)} with NUL "
            f"bytes, such as {binary[0].relative_to(path)}; take them out, or say "
            f"{name}@{TEXT_ONLY} to leave them out"
        )
    kept = [file for file in files if file not in set(binary)]
    if not kept:
        raise ValueError(
            f"dataset {name!r}: expected a file of text in {path}, got {len(files)} that are none"
        )
    return Texts(name, path, split_files(kept))


@functools.lru_cache(maxsize=1)
def library_texts() -> Texts | None:
    """Sources of the library of the Python that runs, split by file; None where there are none."""
    place = Path(sysconfig.get_paths()["stdlib"])
    least, most = LIBRARY_SIZES
    sources = [
        file
        for file in all_files(place, "*.py")
        if not NOT_THE_LIBRARY.intersection(file.relative_to(place).parts)
        and least <= file.stat().st_size <= most
    ]
    return Texts("python_text", place, split_files(sources)) if len(sources) >= ONE_IN else None


def split_files(files: Sequence[Path]) -> tuple[tuple[Path, ...], ...]:
    """Files of each split, or all of them once where they are few."""
    if len(files) < ONE_IN:
        return (tuple(files),)
    places = {"validation": ONE_IN - 2, "test": ONE_IN - 1}
    held = {split: tuple(files[place::ONE_IN]) for split, place in places.items()}
    rest = tuple(file for i, file in enumerate(files) if i % ONE_IN < ONE_IN - 2)
    return rest, held["validation"], held["test"]


def of_split(folder: Path, split: str) -> list[Path]:
    """Files whose names begin with a split's, in order."""
    return sorted(file for file in folder.glob(f"{split}*") if file.is_file())


def all_files(folder: Path, pattern: str = "*") -> Iterable[Path]:
    """Files in a folder and those within, in the order of their paths, the same everywhere."""
    paths = {file.relative_to(folder): file for file in folder.rglob(pattern) if file.is_file()}
    shown = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    return [paths[path] for path in sorted(shown, key=lambda path: path.as_posix())]


def is_binary(file: Path) -> bool:
    """Whether a file begins as no text does."""
    with file.open("rb") as opened:
        return b"\0" in opened.read(LOOKED_AT)


def python_texts() -> Texts:
    """The files of `python_text`; FileNotFoundError if there are none."""
    path = data_root() / "python_text"
    if of_split(path, "train"):
        return texts_of(path, "python_text")
    texts = library_texts()
    if texts is None:
        raise FileNotFoundError(
            f"dataset 'python_text' is not in {data_root()}, and this Python has no sources of its "
            f"library; put text files there as {path}/train.txt, validation.txt and test.txt (or "
            "set CCENV_DATA to the folder that holds it)"
        )
    return texts


def texts_named(name: str) -> Texts | None:
    """The files of a text by the name of its data set; None where there are none."""
    if name in LIBRARY:
        return python_texts()
    if name == BUNDLED:
        return texts_of(FOLDER, BUNDLED)
    path = text_path(data_root(), name)
    return None if path is None else texts_of(path, name)
