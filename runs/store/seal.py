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


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its seal.

    Args:
        content: what JSON holds; see `ccenv.runs.store.folder.finite`.
    """
    plain = {name: value for name, value in content.items() if name != SEAL}
    return {**plain, SEAL: digest(plain)}


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of content as JSON, whatever the order of its names (its start)."""
    text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def check_seal(content: Any, where: str) -> Any:
    """Refuses content that is not as it was sealed; what has no seal is older than seals are.

    Args:
        content: parsed JSON.
        where: the file, for the message.

    Raises:
        ValueError: if the seal is another.

    >>> check_seal(sealed({"error": 0.5}), "a.json")["error"]
    0.5
    """
    if isinstance(content, Mapping) and SEAL in content:
        plain = {name: value for name, value in content.items() if name != SEAL}
        if digest(plain) != content[SEAL]:
            raise edited(where, f"content with the checksum {digest(plain)}", content[SEAL])
    return content
