"""Changes single lines and runs the tests near them: which changes are noticed in each checkout.

    git worktree add /tmp/before v0.1
    python -m ccenv.runs.lab mutations /tmp/before

A change is one operator, number or truth value of `ccenv` or `agents`. Every checkout gets the same
changes: a line is taken only where each checkout has it once. The tests are those that name the
module, then those of its folder, until one fails or the processor time is over, so that other work
on the machine changes nothing; so the share is a lower bound of what the whole suite notices.
"""

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ccenv.runs.experiment import Experiment, Options, Row, Rows
from ccenv.runs.tables.sweep_table import formatted

HERE = Path(__file__).resolve().parents[3]
SWAPPED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: (" is ", " is not "),
    ast.IsNot: (" is not ", " is "),
    ast.In: (" in ", " not in "),
    ast.NotIn: (" not in ", " in "),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.And: (" and ", " or "),
    ast.Or: (" or ", " and "),
}
"""Operator -> its text and the text in its place."""
NOTICED, UNNOTICED, NO_ANSWER = OUTCOMES = "noticed", "unnoticed", "unanswered"
LONGEST_WAIT = 20
"""Times the processor time that tests may take, for tests that wait for what never comes."""
LEFT_OUT = shutil.ignore_patterns(".git", ".ci", "logs", "reports", ".hypothesis", ".*_cache")


@dataclass(frozen=True)
class Mutation:
    """One change of one line."""

    module: Path
    """relative to the checkout."""
    before: str
    """the line."""
    after: str
    """the line in its place."""


def between(line: str, start: int, end: int, kind: type[ast.AST]) -> str | None:
    """The line with another operator between two columns."""
    if kind not in SWAPPED:
        return None
    old, new = SWAPPED[kind]
    at = line.find(old, start, end)
    return None if at < 0 else line[:at] + new + line[at + len(old) :]


def changes_of(node: ast.AST, lines: list[str]) -> Iterator[tuple[int, str]]:
    """(index of a line, the line in its place) for each change of one node of a syntax tree."""
    if isinstance(node, ast.Compare):
        pairs = list(zip([node.left, *node.comparators], node.comparators, strict=False))
        operators: list[ast.AST] = [*node.ops]
    elif isinstance(node, ast.BinOp):
        pairs, operators = [(node.left, node.right)], [node.op]
    elif isinstance(node, ast.BoolOp):
        pairs = list(zip(node.values, node.values[1:], strict=False))
        operators = [node.op] * len(pairs)
    else:
        pairs, operators = [], []
    for (left, right), operator in zip(pairs, operators, strict=True):
        if left.end_lineno == right.lineno and left.end_col_offset is not None:
            line = lines[right.lineno - 1]
            changed = between(line, left.end_col_offset, right.col_offset, type(operator))
            if changed is not None:
                yield right.lineno - 1, changed
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
        other = not node.value if isinstance(node.value, bool) else node.value + 1
        line = lines[node.lineno - 1]
        yield node.lineno - 1, line[: node.col_offset] + repr(other) + line[node.end_col_offset :]


def mutations_of(root: Path, module: Path) -> Iterator[Mutation]:
    """All changes of a module; annotations stay, for nothing runs them."""
    text = (root / module).read_text(encoding="utf-8")
    lines = text.split("\n")
    tree = ast.parse(text)
    idle = {
        id(inner)
        for node in ast.walk(tree)
        for note in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if note is not None
        for inner in ast.walk(note)
    }
    for node in ast.walk(tree):
        if id(node) not in idle:
            for index, changed in changes_of(node, lines):
                if lines[index].isascii():
                    yield Mutation(module, lines[index], changed)


def modules_of(root: Path) -> list[Path]:
    """Modules of the environment and of the agents; links to other folders are not followed."""
    return [
        (Path(folder) / name).relative_to(root)
        for top in ("agents", "ccenv")
        for folder, _, names in sorted(os.walk(root / top))
        for name in sorted(names)
        if name.endswith(".py")
    ]


def where_once(root: Path) -> dict[str, Path]:
    """Each line that stands once in the modules of a checkout -> its module."""
    places: dict[str, list[Path]] = {}
    for module in modules_of(root):
        for line in (root / module).read_text(encoding="utf-8").split("\n"):
            places.setdefault(line.strip(), []).append(module)
    return {line: modules[0] for line, modules in places.items() if len(modules) == 1}


def near_tests(root: Path, module: Path) -> list[Path]:
    """Test files: those that name the module first, then those of its folder."""
    parts = module.with_suffix("").parts
    name = ".".join(parts if parts[0] == "ccenv" else ("ccenv", *parts))
    folder = root / "tests" / module.parent
    while not folder.is_dir():
        folder = folder.parent
    near = sorted(folder.rglob("test_*.py")) if folder != root / "tests" else []
    files = sorted((root / "tests").rglob("test_*.py"))
    naming = [path for path in files if name in path.read_text(encoding="utf-8")]
    naming.sort(key=lambda path: path not in near)
    return [path.relative_to(root) for path in dict.fromkeys([*naming, *near])]


def run_tests(root: Path, tests: Iterable[str], seconds: int) -> tuple[int, str]:
    """Runs tests of a checkout until one fails: (exit status, what pytest says).

    Raises:
        TimeoutExpired: if they have not ended after so many seconds of processor time.
    """
    import resource  # Windows has none

    inherited = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    variables = {
        "PYTHONPATH": str(root),
        "CCENV_CACHE": str(root / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *tests],
        cwd=root,
        env=inherited | variables,
        timeout=LONGEST_WAIT * seconds,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (-signal.SIGKILL, -signal.SIGXCPU):
        raise subprocess.TimeoutExpired(command, seconds)
    return done.returncode, done.stdout


def outcome(root: Path, mutation: Mutation, seconds: int) -> str:
    """Runs the tests near a change in a copy of a checkout, which is whole again afterwards.

    A test that fails without the change, too, is no answer.
    """
    path = root / mutation.module
    whole, times = path.read_bytes(), path.stat()
    lines = whole.decode().split("\n")
    index = next(i for i, line in enumerate(lines) if line.strip() == mutation.before.strip())
    indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
    lines[index] = indent + mutation.after.strip()
    path.write_text("\n".join(lines), encoding="utf-8")
    # Doctests of the module itself are tests, too.
    tests = [str(mutation.module), *map(str, near_tests(root, mutation.module))]
    try:
        status, told = run_tests(root, tests, seconds)
    except subprocess.TimeoutExpired:
        return NO_ANSWER
    finally:
        path.write_bytes(whole)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if status in (0, 5):
        return UNNOTICED
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", told, re.MULTILINE)
    if failed and run_tests(root, failed[:1], seconds)[0] != 0:
        return NO_ANSWER
    return NOTICED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which checkouts, how many changes, how long."""
    parser.add_argument("checkouts", nargs="*", type=Path, help="others that get the same changes")
    parser.add_argument("--count", type=int, default=200, help="of changes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=300, help="of processor time for one change")


def run(options: Options) -> Iterator[Row]:
    """Makes one change after the other, in all checkouts at once, and runs the tests near it."""
    originals = {"this one": HERE, **{path.name: path.resolve() for path in options.checkouts}}
    once = {name: where_once(root) for name, root in originals.items()}
    mutations = [
        mutation
        for module in modules_of(HERE)
        for mutation in mutations_of(HERE, module)
        if all(mutation.before.strip() in places for places in once.values())
    ]
    random.Random(options.seed).shuffle(mutations)
    with tempfile.TemporaryDirectory(prefix="ccenv-mutations-") as folder:
        copies = {
            name: Path(shutil.copytree(root, Path(folder) / name, symlinks=True, ignore=LEFT_OUT))
            for name, root in originals.items()
        }
        for mutation in mutations[: options.count]:
            line = mutation.before.strip()

            def outcome_in(name: str, line: str = line, mutation: Mutation = mutation) -> str:
                there = Mutation(once[name][line], mutation.before, mutation.after)
                return outcome(copies[name], there, options.seconds)

            with ThreadPoolExecutor() as pool:
                outcomes = list(pool.map(outcome_in, copies))
            for name, came in zip(copies, outcomes, strict=True):
                yield {
                    "checkout": name,
                    "module": str(mutation.module),
                    "line": line,
                    "changed": mutation.after.strip(),
                    "outcome": came,
                }


def pivot(rows: Rows) -> str:
    """How many changes came out how, a line for each checkout."""
    counts = {
        name: Counter(row["outcome"] for row in rows if row["checkout"] == name)
        for name in dict.fromkeys(row["checkout"] for row in rows)
    }
    return formatted(
        {
            "checkout": "<{checkout}",
            "changes": ">{total}",
            **{outcome: f">{{{outcome}}}" for outcome in OUTCOMES},
        },
        [
            {"checkout": name, "total": count.total(), **{one: count[one] for one in OUTCOMES}}
            for name, count in counts.items()
        ],
    )


MUTATIONS = Experiment(
    name="mutations",
    about="change single lines and see which changes the tests near them notice",
    run=run,
    pivot=pivot,
    key=("checkout", "module", "line", "changed"),
    add_options=add_options,
)
