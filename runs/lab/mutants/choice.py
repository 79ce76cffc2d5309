"""Which tests a fault is shown to: those that execute its line, the nearest and fastest first."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccenv.runs.lab.mutants.checkout import Checkout, Covering
from ccenv.runs.lab.mutants.operators import Fault

FILES_A_ROUND = 4
"""Files of tests that one fork imports."""
FILE_SECONDS = 1.0
"""What a file costs before its first test: its imports."""
FARTHEST = 3
"""Imports between a fault that no map sees (of compiled code) and what is mapped."""


@dataclass(frozen=True)
class Round:
    """Tests of one fork."""

    files: tuple[str, ...]
    """relative to the checkout."""
    tests: tuple[str, ...]
    """node ids, in their order."""
    seconds: float
    """that they take without a fault."""


def tests_of(fault: Fault, checkout: Checkout, maps: Sequence[Covering]) -> dict[str, list[str]]:
    """File of tests -> its tests that execute a fault's line, fastest first.

    A line that runs only on import is executed by what executes its function, class or file; a
    line of compiled code, which no map sees, by what executes a module that imports it.
    """
    whole = (1, 1 << 30)
    for lines in (fault.lines, fault.scope, whole):
        chosen = executing([fault.file], lines, checkout, maps)
        if chosen:
            return chosen
    sources = {fault.file}
    for _ in range(FARTHEST):
        sources |= importers(sources, checkout, maps)
        chosen = executing(sorted(sources), whole, checkout, maps)
        if chosen:
            return chosen
    return {}


def executing(
    sources: Sequence[str],
    lines: tuple[int, int],
    checkout: Checkout,
    maps: Sequence[Covering],
) -> dict[str, list[str]]:
    """File of tests -> its tests that execute one of the lines of sources, fastest first."""
    chosen = {}
    for covering in maps:
        tests = {
            test
            for source in sources
            for line, those in checkout.line_tests(covering, source).items()
            if lines[0] <= line <= lines[1]
            for test in those
        }
        if tests:
            chosen[covering.file] = sorted(tests, key=lambda test: (covering.seconds[test], test))
    return chosen


def importers(sources: set[str], checkout: Checkout, maps: Sequence[Covering]) -> set[str]:
    """Mapped files that import one of the sources."""
    names = {module_name(source) for source in sources}
    importing = set()
    for source in {source for covering in maps for source in covering.sources}:
        text = (checkout.root / source).read_text(encoding="utf-8")
        imported = set(re.findall(r"^ *from ([\w.]+) import", text, re.MULTILINE))
        imported |= {
            f"{module}.{name}"
            for module, rest in re.findall(r"^ *from ([\w.]+) import (.+)$", text, re.MULTILINE)
            for name in re.findall(r"\w+", rest)
        }
        if imported & names:
            importing.add(source)
    return importing


def module_name(source: str) -> str:
    """File of a checkout -> its import name.

    >>> module_name("agents/ppo.py"), module_name("ccenv/rewards/__init__.py")
    ('ccenv.agents.ppo', 'ccenv.rewards')
    """
    parts = Path(source).with_suffix("").parts
    parts = parts if parts[0] == "ccenv" else ("ccenv", *parts)
    return ".".join(parts).removesuffix(".__init__")


def rounds(
    fault: Fault, chosen: dict[str, list[str]], maps: Sequence[Covering], limit: float
) -> Iterator[Round]:
    """Forks of tests until these seconds are over: files nearest to the fault come first."""
    seconds = {test: took for covering in maps for test, took in covering.seconds.items()}
    near = sorted(
        chosen,
        key=lambda file: (-nearness(fault.file, file), seconds[chosen[file][0]], file),
    )
    left = limit
    while near and left > 0:
        now, near = near[:FILES_A_ROUND], near[FILES_A_ROUND:]
        left -= FILE_SECONDS * len(now)
        tests: list[str] = []
        took = 0.0
        for test in sorted((t for f in now for t in chosen[f]), key=lambda t: (seconds[t], t)):
            if took + seconds[test] > max(left, 0):
                break
            took += seconds[test]
            tests.append(test)
        left -= took
        if tests:
            yield Round(tuple(now), tuple(tests), took)


def nearness(source: str, tests: str) -> int:
    """How many words a path of tests shares with that of a source; its own doctests are nearest.

    >>> nearness("agents/groups.py", "tests/agents/test_groups.py")
    2
    >>> nearness("agents/groups.py", "tests/ccenv/data/test_data.py")
    0
    """
    if module_name(source) == module_name(tests):
        return 1 << 10
    words = set(re.findall(r"[a-z0-9]+", module_name(source))) - {"ccenv"}
    return len(words & set(re.findall(r"[a-z0-9]+", tests)))
