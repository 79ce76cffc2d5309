"""JSON on disk: (path, content) -> a file that a reader sees whole or not at all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccenv.base.files import sealed, write_whole


def write_json(path: Path, content: Any) -> None:
    """Writes JSON so that a reader sees all of it or none."""
    write_whole(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def finite(content: Any) -> Any:
    """Copies nested dicts and lists with null for numbers that are not finite, as JSON wants it."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON with the checksum that `check_seal` asks for."""
    write_json(path, sealed(finite(content)))
