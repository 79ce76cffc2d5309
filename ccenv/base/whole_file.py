"""Files that a reader sees whole or not at all: path -> a new file that takes its place."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replaced_when_whole(path: Path, *, survives_power_cuts: bool = True) -> Iterator[Path]:
    """Gives a new, empty file to write and renames it; leaves no half file behind.

    Links are not followed: one at `path` is replaced. A file that survives power cuts is on disk
    before it is renamed, which takes milliseconds.
    """
    # In a folder from somebody else a link may lie under any name that can be guessed.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.touch(exist_ok=False)
        yield partial
        if survives_power_cuts:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a text in UTF-8, or bytes; makes the folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_when_whole(path, survives_power_cuts=False) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
