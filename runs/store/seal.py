"""Seals of results: the checksum that a result carries, so that an altered number is noticed.

A seal tells damage and careless edits. It is no signature: who forges a result can make another;
`ccenv validate` recomputes what it says.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ccenv.runs.store.result_checks import edited

SEAL = "sha256"
"""Under which name it stands in a result."""
LENGTH = 24
"""Hexadecimal digits of a seal."""


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its seal.

    Args:
        content: what JSON holds; see `ccenv.runs.store.json_file.finite`.
    """
    plain = without(content, SEAL)
    return {**plain, SEAL: digest(plain)}


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of content as JSON, whatever the order of its names (its start)."""
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def check_seal(content: Any, where: str) -> Any:
    """Refuses content that is not as it was sealed; what has no seal is older than seals are.

    Unless another name holds the checksum of all the rest: then the seal's own name was damaged.

    Args:
        content: parsed JSON.
        where: the file, for the message.

    Raises:
        ValueError: if the seal is another.

    >>> check_seal(sealed({"error": 0.5}), "a.json")["error"]
    0.5
    """
    if isinstance(content, Mapping) and SEAL in content:
        plain = without(content, SEAL)
        if digest(plain) != content[SEAL]:
            raise edited(where, f"content with the checksum {digest(plain)}", content[SEAL])
    elif isinstance(content, Mapping):
        for name, value in content.items():
            if is_checksum(value) and digest(without(content, name)) == value:
                raise edited(where, f"the checksum under the name {SEAL!r}", name)
    return content


def without(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Content with one name left out."""
    return {other: value for other, value in content.items() if other != name}


def is_checksum(value: Any) -> bool:
    """Whether something has the form of a seal."""
    return isinstance(value, str) and len(value) == LENGTH
