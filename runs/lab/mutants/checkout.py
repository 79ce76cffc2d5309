"""A copy of this checkout and its tests: a line of a file -> the tests that execute it.

Everything lies in `mutants` in the user's cache folder. The copy stays, and so do its compiled
files. The map of lines is made once for each test file, again when that file changes; lines of a
source that has changed since are found by their text.
"""

import contextlib
import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ccenv.base.files import write_whole
from ccenv.base.machine import user_cache

HERE = Path(__file__).resolve().parents[3]
"""This checkout."""
WARMED = (
    "coverage",
    "gymnasium",
    "hypothesis",
    "numba",
    "numpy",
    "pytest",
    "scipy.stats",
    "stable_baselines3",
    "torch",
    "torch._dynamo",
    "xdist.plugin",
)
"""Libraries that most tests import; a missing one is left to the tests."""
MAP_SECONDS = 60
"""What the tests of a file are expected to take while they are mapped."""
DOCTESTS = "ccenv"
"""Folder whose modules hold doctests, as in pytest's settings."""


@dataclass(frozen=True)
class Covering:
    """What a map says about a test file."""

    file: str
    """relative to the checkout."""
    seconds: Mapping[str, float]
    """node id of each test that passes without a fault -> CPU seconds."""
    data: Path
    """coverage's data, with node ids as contexts."""
    sources: Mapping[str, str]
    """file that its tests execute -> digest of its text then."""


@contextlib.contextmanager
def opened(seed: int) -> Iterator["Checkout"]:
    """The copy, equal to this checkout, for one program at a time."""
    from filelock import FileLock

    folder = user_cache() / "mutants"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        root = folder / "checkout"
        copy_files(root)
        with start_worker(root) as worker:
            try:
                yield Checkout(root, folder / "map", worker, seed)
            finally:
                worker.kill()


def start_worker(root: Path, warmed: Sequence[str] = WARMED) -> "subprocess.Popen[str]":
    """A process of `worker.py` that runs tests of a checkout, with libraries that it imports."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "runs/lab/mutants/worker.py"), *warmed],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def copy_files(root: Path) -> None:
    """Makes a folder equal to this checkout's files, tracked or not ignored; times stay."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=HERE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    names = {name for name in listed if name and os.path.lexists(HERE / name)}
    inventory = root / ".copied"
    before = set(json.loads(inventory.read_text())) if inventory.exists() else set()
    for name in before - names:
        (root / name).unlink(missing_ok=True)
    for name in sorted(names):
        source, target = HERE / name, root / name
        if source.is_symlink():
            target.unlink(missing_ok=True)
        elif target.exists() and same(source, target):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    inventory.write_text(json.dumps(sorted(names)))


def same(source: Path, target: Path) -> bool:
    """Whether two files have one size and time of change."""
    one, other = source.stat(), target.stat()
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def digest_of(*parts: str) -> str:
    """Of texts: 16 hexadecimal digits."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def moved_lines(before: str, after: str) -> dict[int, int]:
    r"""Line of a text now -> the same line then, both from 1; a changed line has none.

    >>> moved_lines("a\nb\nc", "a\nnew\nb\nc")
    {1: 1, 3: 2, 4: 3}
    """
    matcher = difflib.SequenceMatcher(None, before.split("\n"), after.split("\n"), autojunk=False)
    return {
        block.b + place + 1: block.a + place + 1
        for block in matcher.get_matching_blocks()
        for place in range(block.size)
    }


class Checkout:
    """The copy, what runs its tests, and the map of its lines."""

    def __init__(self, root: Path, maps: Path, worker: "subprocess.Popen[str]", seed: int) -> None:
        """Folders of the copy and of its maps, a process of `worker.py`, Hypothesis' seed."""
        self.root, self.maps, self.worker, self.seed = root, maps, worker, seed
        self.lines: dict[tuple[str, str], dict[int, set[str]]] = {}
        maps.mkdir(exist_ok=True)

    def run_tests(
        self,
        files: Sequence[str],
        tests: Sequence[str] | None,
        seconds: float,
        mapped: Path | None = None,
    ) -> dict[str, Any]:
        """Runs tests in a fork; see `worker.run_tests` and `worker.in_fork`."""
        request = {"files": files, "tests": tests, "seconds": seconds, "seed": self.seed}
        request["map"] = None if mapped is None else str(mapped)
        stdin, stdout = self.worker.stdin, self.worker.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            raise RuntimeError(
                f"expected an answer of the process that runs tests, got its end with exit code "
                f"{self.worker.wait()}; its error is above"
            )
        answered: dict[str, Any] = json.loads(answer)
        return answered

    def test_files(self) -> list[str]:
        """Modules with doctests, then files of tests, relative to the checkout."""
        modules = [
            name
            for name in map(str, self.files_in(DOCTESTS))
            if ">>>" in (self.root / name).read_text(encoding="utf-8")
        ]
        tests = [str(p) for p in self.files_in("tests") if p.name.startswith("test_")]
        return [*modules, *tests]

    def files_in(self, folder: str) -> list[Path]:
        """Python files, relative to the checkout; links of `ccenv` are followed."""
        return [
            (Path(place) / name).relative_to(self.root)
            for place, folders, names in os.walk(self.root / folder, followlinks=True)
            if folders.sort() is None
            for name in sorted(names)
            if name.endswith(".py") and "lab" not in Path(place).relative_to(self.root).parts[:3]
        ]

    def mapped(self) -> list[Covering]:
        """Reads what is known of each test file, and maps those that are new or have changed."""
        wanted = {file: self.maps / self.key(file) for file in self.test_files()}
        missing = [file for file in wanted if not wanted[file].with_suffix(".json").exists()]
        for file in tqdm(missing, desc="mapping tests", disable=None):
            self.map_file(file, wanted[file])
        return [self.read_map(file, path) for file, path in wanted.items()]

    def key(self, file: str) -> str:
        """Of a test file as it is."""
        return digest_of(file, (self.root / file).read_text(encoding="utf-8"))

    def map_file(self, file: str, path: Path) -> None:
        """Runs the tests of a file under coverage."""
        data = path.with_suffix(".coverage")
        data.unlink(missing_ok=True)
        came = self.run_tests([file], None, MAP_SECONDS, data)
        failed = {event["failed"] for event in came["events"] if "failed" in event}
        seconds = {
            event["passed"]: event["seconds"]
            for event in came["events"]
            if "passed" in event and event["passed"] not in failed
        }
        if came["is_late"] or not came["is_whole"]:
            print(f"{file}: not mapped, its tests took too long or broke off", file=sys.stderr)
            seconds = {}
        for name in sorted(failed):
            print(f"{name}: fails without a fault, and is left out", file=sys.stderr)
        sources = self.measured(data) if seconds else {}
        write_whole(
            path.with_suffix(".json"),
            json.dumps({"seconds": seconds, "sources": sources}).encode(),
        )

    def measured(self, data: Path) -> dict[str, str]:
        """Files of coverage's data -> digests of their texts, which are kept."""
        from coverage import CoverageData

        read, digests = CoverageData(str(data)), {}
        read.read()
        for name in read.measured_files():
            text = Path(name).read_text(encoding="utf-8")
            digests[str(Path(name).relative_to(self.root))] = digest = digest_of(text)
            kept = self.maps / f"{digest}.source"
            if not kept.exists():
                write_whole(kept, text.encode())
        return digests

    def read_map(self, file: str, path: Path) -> Covering:
        """What `map_file` has written."""
        kept = json.loads(path.with_suffix(".json").read_text())
        return Covering(file, kept["seconds"], path.with_suffix(".coverage"), kept["sources"])

    def line_tests(self, covering: Covering, source: str) -> dict[int, set[str]]:
        """Line of a source as it now is -> tests of a file that execute it."""
        key = covering.file, source
        if key not in self.lines:
            self.lines[key] = self.read_lines(covering, source)
        return self.lines[key]

    def read_lines(self, covering: Covering, source: str) -> dict[int, set[str]]:
        """See `line_tests`."""
        from coverage import CoverageData

        if source not in covering.sources:
            return {}
        data = CoverageData(str(covering.data))
        data.read()
        contexts = data.contexts_by_lineno(str(self.root / source))
        before = (self.maps / f"{covering.sources[source]}.source").read_text(encoding="utf-8")
        now = (self.root / source).read_text(encoding="utf-8")
        return {
            line: {test for test in contexts.get(then, []) if test in covering.seconds}
            for line, then in moved_lines(before, now).items()
        }
