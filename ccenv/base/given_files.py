"""Reads files that a stranger handed over: a path -> the content of a plain file, or one line.

Runs, records, scores, sweeps, tables and zips are opened through here. A file is plain (no pipe, no
device, no link to one) and of limited size before a byte of it is read. JSON and TOML hold texts
without control characters, finite numbers of at most 64 bits, lists and objects, not too deep.
"""

import json
import re
import stat
import tomllib
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

from ccenv.base.annotations import LARGEST_INTEGER
from ccenv.base.values import in_a_line, shortened, shown

JSON, TOML, TEXT, TENSORS, ZIP = ".json", ".toml", ".txt", ".safetensors", ".zip"
MOST_BYTES = {JSON: 2**26, TOML: 2**22, TEXT: 2**16, TENSORS: 2**33, ZIP: 2**34}
"""Kind of a file -> its largest size."""
MOST_DEEP = 32
"""Content is not nested deeper."""
COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Letters that command a terminal: control characters, and marks that turn a line's direction."""
NUMBERS = (int, float)


def check_plain_file(path: Path, kind: str, most: int | None = None) -> None:
    """Refuses what is no plain file of limited size, before it is opened.

    Args:
        path: a link to a plain file is one too.
        kind: a key of `MOST_BYTES`.
        most: bytes; by default those of the kind.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is a folder, a pipe or a device, or too large.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"expected a file {path}, got none") from error
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a device or a socket"
        raise ValueError(f"expected a plain file {path}, got {what}; name a file")
    most = MOST_BYTES[kind] if most is None else most
    if status.st_size > most:
        raise ValueError(f"expected at most {most:,} bytes in {path}, got {status.st_size:,}")


def read_text(path: Path, kind: str = TEXT) -> str:
    """Reads UTF-8 of a plain file (else ValueError); errors as those of `check_plain_file`."""
    check_plain_file(path, kind)
    # Such a file may grow, or have no size of its own.
    with path.open("rb") as file:
        content = file.read(MOST_BYTES[kind])
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected text in UTF-8 in {path}, got other bytes; mend the file, or put it back as "
            "it was"
        ) from error


def read_json(path: Path) -> Any:
    """Reads JSON of a plain file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no plain file, no JSON, or holds what `check_content` refuses.
    """
    return parsed_file(path, JSON, json.loads)


def read_toml(path: Path) -> dict[str, Any]:
    """Reads TOML of a plain file; errors as those of `read_json`."""
    content: dict[str, Any] = parsed_file(path, TOML, tomllib.loads)
    return content


def parsed_file(path: Path, kind: str, parse: Callable[[str], Any]) -> Any:
    """What a plain file holds."""
    text = read_text(path, kind)
    try:
        content = parse(text)
        check_content(content)
    # A whole number of more than 4,300 digits is a ValueError of Python's own.
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"expected {kind[1:].upper()} in {path}, got {shortened(in_a_line(error))}; mend "
            "the file, or put it back as it was"
        ) from error
    return content


def check_content(content: Any) -> None:
    r"""Refuses what no file of ours holds (ValueError), wherever it lies in nested content.

    >>> check_content({"error": [0.5, {"label": "a"}]})
    >>> check_content({"error": [0.5, {"label": "a" + chr(27)}]})
    Traceback (most recent call last):
    ValueError: expected printable texts, got label = 'a\x1b'
    """
    level, most = [("content", content)], LARGEST_INTEGER
    for _ in range(MOST_DEEP + 1):
        deeper: list[tuple[str, Any]] = []
        for name, value in level:
            if isinstance(value, dict):
                items = [*value.items(), *(("a name", key) for key in value)]
            elif isinstance(value, list | tuple):
                items = [(name, one) for one in value]
            elif wanted := wanted_of(value):
                raise ValueError(f"expected {wanted}, got {name} = {shown(value)}")
            else:
                continue
            # Millions of values are such numbers: only the others are asked one by one.
            deeper += [(n, v) for n, v in items if type(v) not in NUMBERS or not -most <= v <= most]
        if not (level := deeper):
            return
    raise ValueError(f"expected content nested at most {MOST_DEEP} deep, got more")


def wanted_of(value: Any) -> str:
    """What is expected in the place of one value; empty where it may stand."""
    if isinstance(value, str):
        return "printable texts" if COMMANDS.search(value) else ""
    if isinstance(value, float):
        return "" if -inf < value < inf else "finite numbers"
    if isinstance(value, int):
        return "" if abs(value) <= LARGEST_INTEGER else "whole numbers of at most 64 bits"
    return "" if value is None else "texts, numbers, lists and objects"
