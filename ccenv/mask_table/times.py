"""Times of units on one machine: (a file, a table's gates) -> what masks cost there; numpy.

A table is of a network, time is of a machine: it lies in a file of its own that says which. What a
mask takes is what always runs and what each of its blocks adds where everything else is kept: all
kept costs exactly 1, and blocks that cost less together than alone are not known.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccenv.base.files import CHECKSUM, arrays_digest, check_sha256, replaced_when_whole
from ccenv.mask_table.header import Header, check_fields

KIND = "ccenv times of units"
NO_TIMES = (
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    UnicodeDecodeError,
    json.JSONDecodeError,
)
"""What reading another kind of file raises; a deeply nested one exceeds Python's recursion."""
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class UnitTimes:
    """How long a network's parts take on one machine."""

    machine: dict[str, Any]
    """its name and what was measured with."""
    gates: tuple[tuple[str, int, str], ...]
    """of the network, as a table's header names them."""
    dense_macs: int
    """of the network."""
    batch_size: int
    """inputs of a pass."""
    always: float
    """seconds of an input that always go: stem, head, and what walks from gate to gate."""
    units: tuple[float, ...]
    """seconds of an input that each block adds."""

    @property
    def dense(self) -> float:
        """Seconds of an input with everything kept."""
        return self.always + sum(self.units)

    def shares(self, header: Header, gate: int | None = None) -> F32:
        """Time so far once a gate is decided, over the dense network's: [prefixes] of masks.

        Args:
            header: of a table.
            gate: None for whole masks; what always goes is counted with the first gate.

        Raises:
            ValueError: if the table is of another network.
        """
        if (header.gates, header.dense_macs) != (self.gates, self.dense_macs):
            raise ValueError(
                f"expected times of the table's network ({len(header.gates)} gates, "
                f"{header.dense_macs:,} MACs), got those of one with {len(self.gates)} gates and "
                f"{self.dense_macs:,} MACs; measure it: ccenv table times"
            )
        last = len(header.gates) if gate is None else gate + 1
        part = dataclasses.replace(header, gates=header.gates[:last], menus=header.menus[:last])
        kept = part.executed()
        seconds = self.always + kept @ np.array(self.units[: kept.shape[1]])
        return (seconds / self.dense).astype(np.float32)


def write_times(path: Path, times: UnitTimes) -> None:
    """Writes JSON with a checksum, so that a reader sees all of it or none.

    Raises:
        OSError: if it cannot be written.
    """
    content = {"kind": KIND, **dataclasses.asdict(times)}
    text = json.dumps({**content, CHECKSUM: digest_of(content)}, indent=2)
    with replaced_when_whole(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of a file's content without its checksum."""
    return arrays_digest({}, {"times": json.dumps(content, sort_keys=True)})


def read_times(path: Path) -> UnitTimes:
    """Reads what `write_times` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is another kind of file, is not as it was written, has no checksum (older
            versions wrote none), or a time is no number of at least 0.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["kind"] != KIND:
            raise KeyError("kind")
        if CHECKSUM not in found:
            raise ValueError(
                f"expected a checksum in {path}, got none: it was edited, or an older version "
                "measured it; measure it again: ccenv table times"
            )
        check_sha256(path, found.pop(CHECKSUM), digest_of(found))
        check_fields({name: found[name] for name in ("gates", "dense_macs")})
        times = UnitTimes(
            machine={**found["machine"], "name": str(found["machine"]["name"])},
            gates=tuple((str(n), int(b), str(s)) for n, b, s in found["gates"]),
            dense_macs=int(found["dense_macs"]),
            batch_size=int(found["batch_size"]),
            always=float(found["always"]),
            units=tuple(float(one) for one in found["units"]),
        )
    except NO_TIMES as error:
        raise ValueError(
            f"expected a file of ccenv table times in {path}, got another kind of file: "
            f"{type(error).__name__}: {error}"
        ) from error
    seconds = (times.always, *times.units)
    blocks = sum(count for _, count, _ in times.gates)
    if len(times.units) != blocks or not all(math.isfinite(s) and s >= 0 for s in seconds):
        raise ValueError(f"expected seconds of {blocks} blocks, none below 0, in {path}")
    if times.dense <= 0:
        raise ValueError(f"expected a dense network that takes time, got 0 seconds in {path}")
    return times
