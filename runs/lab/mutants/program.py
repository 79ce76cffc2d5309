"""Plants faults drawn by a seed, one by one, and shows each to the tests that execute its line.

    python -m ccenv.runs.lab mutants --seed 1 --count 40 --under agents ccenv/simulator

A fault is found if a test fails that passes without it. What survives is a law that is missing, or
a change that changes nothing: such a one is named in `equivalent.toml`, with the reason.
"""

import argparse
import os
import random
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ccenv.runs.lab.experiment import Experiment, Options, Row, Rows, formatted
from ccenv.runs.lab.mutants.checkout import HERE, Checkout, Covering, opened
from ccenv.runs.lab.mutants.choice import rounds, tests_of
from ccenv.runs.lab.mutants.operators import OPERATORS, Fault, faults_of, is_other

SCOPE = (
    "agents",
    "ccenv/annexes/agents",
    "ccenv/annexes/tasks",
    "ccenv/base",
    "ccenv/data",
    "ccenv/envs",
    "ccenv/mdp",
    "ccenv/minimal.py",
    "ccenv/minimal_sequence.py",
    "ccenv/networks",
    "ccenv/rewards",
    "ccenv/simulator",
    "ccenv/sparse",
    "runs/replay",
    "runs/stats",
    "runs/suite",
)
"""Folders and files in which faults are planted."""
FOUND, LATE, SURVIVED, SAME = OUTCOMES = "found", "out of time", "survived", "equivalent"
"""A test failed; tests did not end; all passed; nothing changes, by `equivalent.toml`."""
MOST_SURVIVE = 0.05
"""Share of the faults: with more the exit status is 1."""


def drawn(seed: int, count: int, under: Sequence[str], root: Path = HERE) -> list[Fault]:
    """Faults of a seed: an operator, then one of its places, each at most once.

    Raises:
        ValueError: if nothing can be planted there, or not so many faults.
    """
    files = [name for part in under for name in sources(root, part)]
    places: dict[str, list[Fault]] = {name: [] for name in OPERATORS}
    for file in dict.fromkeys(files):
        for fault in faults_of(file, (root / file).read_bytes()):
            places[fault.operator].append(fault)
    total = sum(map(len, places.values()))
    if not 1 <= count <= total:
        raise ValueError(
            f"expected --count from 1 to the {total} faults under {', '.join(under)}, got {count}; "
            "choose another number or more folders"
        )
    numbers = random.Random(seed)
    for those in places.values():
        numbers.shuffle(those)
    chosen: list[Fault] = []
    while len(chosen) < count:
        one = places[numbers.choice([name for name, those in places.items() if those])].pop()
        if is_other(one, (root / one.file).read_bytes()):
            chosen.append(one)
    return chosen


def sources(root: Path, part: str) -> list[str]:
    """Python files of a folder of the checkout, or the file itself, in order.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = root / part
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(
            f"expected Python files under {part} in {root}, got none; name a folder or a file of "
            "the checkout"
        )
    return [str(one.relative_to(root)) for one in files]


def equivalents() -> dict[tuple[str, str, str], str]:
    """(file, line, changed line) of faults that change nothing -> why."""
    with (Path(__file__).parent / "equivalent.toml").open("rb") as file:
        entries = tomllib.load(file)["equivalent"]
    return {(one["file"], one["before"], one["after"]): one["why"] for one in entries}


def tried(fault: Fault, checkout: Checkout, maps: Sequence[Covering], limit: float) -> Row:
    """Plants a fault in the copy, and runs tests there until one fails or the time is over."""
    chosen = tests_of(fault, checkout, maps)
    came: dict[str, Any] = {"outcome": SURVIVED, "by": "", "error": "", "tests": 0}
    path = checkout.root / fault.file
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(fault.applied(content))
    try:
        for one in rounds(fault, chosen, maps, limit):
            answer = checkout.run_tests(one.files, one.tests, one.seconds)
            came |= judged(answer, came["tests"])
            if came["outcome"] != SURVIVED:
                break
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return came | {"left": sum(map(len, chosen.values())) - came["tests"]}


def judged(answer: dict[str, Any], before: int) -> dict[str, Any]:
    """What the tests of a fork say of a fault, where so many tests passed before.

    >>> whole = {"is_late": False, "is_whole": True}
    >>> judged({"events": [{"began": "a"}, {"passed": "a"}], **whole}, 2)
    {'tests': 3}
    >>> judged({"events": [{"began": "a"}, {"failed": "a", "error": "1 != 2"}], **whole}, 0)
    {'outcome': 'found', 'by': 'a', 'error': '1 != 2', 'tests': 1}
    """
    events = answer["events"]
    began = [event["began"] for event in events if "began" in event]
    failed = [event for event in events if "failed" in event]
    tests = before + len(began)
    last = began[-1] if began else "import"
    if failed:
        error = failed[0]["error"].splitlines()[-1:] or [""]
        return {"outcome": FOUND, "by": failed[0]["failed"], "error": error[0], "tests": tests}
    if answer["is_late"]:
        return {"outcome": LATE, "by": last, "error": "did not end", "tests": tests}
    if not answer["is_whole"]:
        return {"outcome": FOUND, "by": last, "error": "the process broke off", "tests": tests}
    return {"tests": tests}


def run(options: Options) -> Iterator[Row]:
    """Tries one fault after the other."""
    faults = drawn(options.seed, options.count, options.under)
    named = equivalents()
    with opened(options.seed) as checkout:
        maps = checkout.mapped()
        for fault in faults:
            why = named.get((fault.file, fault.before, fault.after))
            row = {
                "file": fault.file,
                "line": fault.lines[0],
                "operator": fault.operator,
                "before": fault.before,
                "after": fault.after,
            }
            if why is not None:
                yield {"outcome": SAME, **row, "by": "", "error": why, "tests": 0, "left": 0}
            else:
                came = tried(fault, checkout, maps, options.seconds)
                yield {"outcome": came["outcome"], **row, **came}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which faults, how many, how long."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="of faults")
    parser.add_argument(
        "--under", nargs="+", default=SCOPE, help="folders and files to plant faults in"
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="of tests shown a fault, as they take without it"
    )


def share_of_survivors(rows: Rows) -> float:
    """Of the faults that change something."""
    counted = Counter(row["outcome"] for row in rows)
    return counted[SURVIVED] / max(1, len(rows) - counted[SAME])


def pivot(rows: Rows) -> str:
    """A line for each fault, survivors first, and how many came out how."""
    counted = Counter(row["outcome"] for row in rows)
    table = formatted(
        {
            "outcome": "<{outcome}",
            "line": "<{file}:{line}",
            "operator": "<{operator}",
            "text": "<`{before}`",
            "changed": "<`{after}`",
            "found by, or why": "<{by} {error}",
            "tests (left)": ">{tests} ({left})",
        },
        sorted(rows, key=lambda row: OUTCOMES[::-1].index(row["outcome"]) % len(OUTCOMES)),
    )
    told = ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES)
    return f"{table}\n\n{len(rows)} faults: {told}; {share_of_survivors(rows):.1%} survive."


MUTANTS = Experiment(
    name="mutants",
    about="plant faults drawn by a seed, and run the tests that execute their lines",
    run=run,
    pivot=pivot,
    recorded_as="mutants",
    add_options=add_options,
    head=lambda options, _: {
        "seed": options.seed,
        "count": options.count,
        "under": list(options.under),
        "seconds": options.seconds,
    },
    failed=lambda rows: share_of_survivors(rows) > MOST_SURVIVE,
)
