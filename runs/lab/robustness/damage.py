"""Damaged files: (a sound file, its reader) -> was each change noticed, harmless, or believed."""

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccenv.runs.lab.experiment import Experiment, Options, Row
from ccenv.runs.lab.robustness.kinds import Kind, kinds

NAMED = (ValueError, OSError)
"""What a reader raises of a file that is not as it was written."""
NOTICED, HARMLESS, BELIEVED, CRASHED = "noticed", "harmless", "believed", "crashed"
CAME = (NOTICED, HARMLESS, BELIEVED, CRASHED)


@dataclass(frozen=True)
class Harm:
    """One change of a file and what came of it."""

    what: str
    """"bit 3 of byte 71 flipped"."""
    came: str
    """`NOTICED` (refused by name), `HARMLESS` (read as before), `BELIEVED` or `CRASHED`."""
    error: str
    """the exception, if there was one."""


def changes(content: bytes, numbers: random.Random) -> tuple[str, bytes]:
    """A changed copy: mostly one flipped bit, sometimes cut short, zeroed, or written twice."""
    place = numbers.randrange(len(content))
    kind = numbers.choices(("flip", "cut", "zeros", "twice"), (6, 2, 1, 1))[0]
    if kind == "flip":
        bit = numbers.randrange(8)
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        return f"bit {bit} of byte {place} flipped", bytes(changed)
    if kind == "cut":
        return f"cut after {place} bytes", content[:place]
    if kind == "zeros":
        size = min(numbers.choice((1, 16, 512)), len(content) - place)
        zeroed = content[:place] + bytes(size) + content[place + size :]
        return f"{size} bytes zeroed from {place} on", zeroed
    return "written twice", content + content


def harmed(kind: Kind, numbers: random.Random) -> Harm:
    """Changes a file, reads it, and puts it back."""
    sound = kind.path.read_bytes()
    before = kind.read()
    what, changed = changes(sound, numbers)
    try:
        kind.path.write_bytes(changed)
        return Harm(what, *judged(kind, before))
    finally:
        kind.path.write_bytes(sound)


def judged(kind: Kind, before: Any) -> tuple[str, str]:
    """What came of reading a changed file, and what was said."""
    try:
        after = kind.read()
    except NAMED as error:
        return NOTICED, f"{type(error).__name__}: {error}"
    except Exception as error:
        return CRASHED, f"{type(error).__name__}: {error}"
    return (HARMLESS, "") if after == before or not kind.is_sealed else (BELIEVED, "")


def harm_many(kind: Kind, times: int, seed: int) -> tuple[Counter[str], list[Harm]]:
    """Harms a file so many times: how often which came, and those that should not have come."""
    numbers = random.Random(seed)
    harms = [harmed(kind, numbers) for _ in range(times)]
    return Counter(one.came for one in harms), [
        one for one in harms if one.came in (BELIEVED, CRASHED)
    ]


def add_options(parser: argparse.ArgumentParser) -> None:
    """How often."""
    parser.add_argument("--times", type=int, default=1000, help="changes of each file")
    parser.add_argument("--seed", type=int, default=0)


def run(options: Options) -> Iterator[Row]:
    """Damages one file of every kind again and again, and reads it."""
    with tempfile.TemporaryDirectory(prefix="ccenv-damage-") as folder:
        for name, kind in kinds(Path(folder)).items():
            came, bad = harm_many(kind, options.times, options.seed)
            for harm in bad:
                print(f"{name}: {harm.what}: {harm.came} {harm.error}", file=sys.stderr)
            yield {"file": name, "changes": options.times} | {c: came[c] for c in CAME}


DAMAGE = Experiment(
    name="damage",
    about="damage files of every kind, and read them",
    run=run,
    columns={"file": "<{file}", "changes": ">{changes:,}"} | {c: f">{{{c}:,}}" for c in CAME},
    recorded_as="faults-damage",
    add_options=add_options,
    failed=lambda rows: any(row[BELIEVED] + row[CRASHED] for row in rows),
)
