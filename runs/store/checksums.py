"""Checksums of data sets: a name -> a hash of all images and labels, as they are here."""

import functools
import hashlib

from ccenv.data import SPLITS, load_split


@functools.lru_cache(maxsize=16)
def data_checksum(dataset: str) -> str | None:
    """SHA-256 of all images and labels (its start); None where the data set is not here."""
    digest = hashlib.sha256()
    try:
        for name in SPLITS:
            split = load_split(dataset, name)
            for tensor in split.tensors():
                digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(tensor.contiguous().numpy().data)
    except (OSError, ValueError):
        return None
    return digest.hexdigest()[:24]


def data_of(dataset: str) -> dict[str, str]:
    """Name and checksum of a data set, as a result holds them; nothing of one that is not here."""
    found = data_checksum(dataset)
    return {} if found is None else {dataset: found}
