"""Texts that others measure on: a name -> its file, fetched where asked and checked before use.

`enwik8` is the first 10^8 bytes of a Wikipedia of 2006 as XML, `text8` so many letters and spaces
of its cleaned text (Mahoney, "Large text compression benchmark", mattmahoney.net/dc/text.html).
Cut as one file they are split as others split them: 90, 5 and 5 million bytes.
"""

import hashlib
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from ccenv.data.split import data_root
from ccenv.data.text_files import Texts, texts_of


@dataclass(frozen=True)
class Archive:
    """Where a text can be fetched, and how its bytes are known."""

    url: str
    """of a zip file that holds the text under its own name."""
    zip_sha256: str
    md5: str
    """of the text, as its author publishes it."""


ARCHIVES = {
    "enwik8": Archive(
        "https://mattmahoney.net/dc/enwik8.zip",
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        "a1fa5ffddb56f4953e226637dabbb36a",
    ),
    "text8": Archive(
        "https://mattmahoney.net/dc/text8.zip",
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        "3bea1919949baf155f99411df5fada7e",
    ),
}


def archived_texts(name: str) -> Texts:
    """The file of one of `ARCHIVES` in the root folder.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is another text of that name, or damaged.
    """
    path, command = data_root() / name, f"ccenv data {name} --download"
    if not path.is_file():
        raise FileNotFoundError(
            f"dataset {name!r} is not in {data_root()}; run: {command} "
            "(or set CCENV_DATA to the folder that holds it)"
        )
    if (found := md5_of(path)) != ARCHIVES[name].md5:
        raise ValueError(
            f"dataset {name!r}: expected {path} with MD5 {ARCHIVES[name].md5}, got {found}: "
            f"delete it and run: {command}, or give a text of yours another name"
        )
    return texts_of(path, name)


def md5_of(path: Path) -> str:
    """Of a file's bytes; to know a published text by, not for secrets."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def download_text(name: str) -> None:
    """Fetches one of `ARCHIVES` into the root folder; what is no such text is not kept.

    Raises:
        OSError: if it cannot be fetched.
        RuntimeError: if what comes is not the archive.
        ValueError: if the archive does not hold the text.
    """
    archive, root = ARCHIVES[name], data_root()
    root.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that it gets there whole or not at all.
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as folder:
        zipped, text = Path(folder) / "archive.zip", Path(folder) / "text"
        torch.hub.download_url_to_file(archive.url, str(zipped), hash_prefix=archive.zip_sha256)
        with zipfile.ZipFile(zipped) as opened:
            if name not in opened.namelist():
                raise ValueError(f"expected {name!r} in {archive.url}, got {opened.namelist()}")
            with opened.open(name) as source, text.open("wb") as target:
                shutil.copyfileobj(source, target)
        if (found := md5_of(text)) != archive.md5:
            raise ValueError(f"expected a text of MD5 {archive.md5} in {archive.url}, got {found}")
        text.replace(root / name)
