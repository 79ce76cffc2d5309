"""What an .npz file unpacks to, before any memory is taken: (file, arrays) -> bytes."""

import io
import math
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

GIB = 2**30
MAX_UNPACKED = 32 * GIB
"""Bytes, where `CCENV_MAX_UNPACKED_GIB` says nothing."""
MAX_HEADER = 2**16
"""Bytes looked at of an array; numpy refuses headers of more than 10,000."""
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def max_unpacked() -> int:
    """Bytes that the arrays of a file may unpack to: `CCENV_MAX_UNPACKED_GIB`, else 32 GiB.

    Raises:
        ValueError: if the variable is no positive number.
    """
    text = os.environ.get("CCENV_MAX_UNPACKED_GIB", "")
    if not text:
        return MAX_UNPACKED
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not 0 < limit < math.inf:
        raise ValueError(f"expected CCENV_MAX_UNPACKED_GIB to be a positive number, got {text!r}")
    return int(limit * GIB)


def unpacked_size(path: Path, wanted: Iterable[str]) -> int:
    """Bytes of some arrays once they are unpacked, by the file's directory and their headers.

    Raises:
        ValueError: if a header promises more than the directory does, or is none.
        OSError, zipfile.BadZipFile: if the file is no archive.
    """
    total = 0
    with zipfile.ZipFile(path) as archive:
        for member in {f"{array}.npy" for array in wanted} & set(archive.namelist()):
            stored = archive.getinfo(member).file_size
            with archive.open(member) as file:
                promised = promised_size(file.read(MAX_HEADER))
            # Numpy takes the memory that a header asks for; a reader stops at the directory's size.
            if promised > stored:
                raise ValueError(f"{member} promises {promised} bytes and holds {stored}")
            total += stored
    return total


def promised_size(head: bytes) -> int:
    """Bytes of an array, header included, by the beginning of its file.

    Raises:
        ValueError: if it is no header.
    """
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"expected a header of version 1.0 or 2.0, got {version}")
    shape, _, dtype = HEADERS[version](file)
    return file.tell() + math.prod(shape) * dtype.itemsize
