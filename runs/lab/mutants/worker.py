"""Runs tests of a checkout in forks of one warmed process: a JSON line in -> a JSON line out.

This file runs as a program with the checkout as its working folder. It imports libraries once and
nothing of ccenv, so that each fork imports ccenv as it then lies in the checkout.
"""

import contextlib
import importlib
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

MEASURED = ("agents/*", "ccenv/*", "runs/*")
"""Files whose lines a map knows."""
SLACK, START = 5, 60
"""CPU seconds of a fork: so many times what its tests take without a fault, and for imports."""
PATIENCE = 10
"""Seconds of the clock over CPU seconds, on a machine that does other work."""


class Judge:
    """A pytest plugin: runs the named tests in their order and tells what came of each."""

    def __init__(self, order: Sequence[str] | None, told: IO[str], coverage: Any = None) -> None:
        """Tests by node id, fastest first (None: all), where to tell, and what maps lines."""
        self.order = None if order is None else {node: place for place, node in enumerate(order)}
        self.told, self.coverage, self.began = told, coverage, 0.0

    def tell(self, **event: Any) -> None:
        """Writes an event; a killed fork has told all before it."""
        self.told.write(json.dumps(event) + "\n")
        self.told.flush()

    def pytest_sessionstart(self) -> None:
        """A fault need not be made small: it is enough that one example fails."""
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutants", settings.default, phases=[Phase.explicit, Phase.generate], database=None
        )
        settings.load_profile("mutants")

    def pytest_collectreport(self, report: Any) -> None:
        """A file of tests that cannot be imported is a find."""
        if report.failed:
            self.tell(failed=report.nodeid, error=str(report.longrepr).strip()[-300:])

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Only named tests, in their order."""
        order = self.order
        if order is not None:
            chosen = [item for item in items if item.nodeid in order]
            items[:] = sorted(chosen, key=lambda item: order[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins."""
        self.tell(began=nodeid)
        self.began = time.process_time()
        if self.coverage is not None:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A part of a test has ended."""
        if report.failed:
            self.tell(failed=report.nodeid, error=str(report.longrepr).strip()[-300:])
        elif report.when == "call" and report.passed:
            self.tell(passed=report.nodeid, seconds=time.process_time() - self.began)


def run_tests(request: Mapping[str, Any], told: IO[str], folder: str) -> None:
    """Runs the tests of a request in this process.

    Args:
        request: "files" of tests; "tests", node ids, or None for all; "seed" of Hypothesis; "map",
            the path of coverage's data, or None; "seconds" that the tests take without a fault.
        told: events are written to it.
        folder: an empty one for what tests write.
    """
    import pytest

    limit = round(SLACK * request["seconds"] + START)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    mapped = None
    if request["map"] is not None:
        import coverage

        mapped = coverage.Coverage(data_file=request["map"], config_file=False, include=MEASURED)
        mapped.start()
    # "-x" would end a map with the first test that fails for another reason than a fault.
    ends = ["-x"] if mapped is None else []
    pytest.main(
        [
            *request["files"],
            *ends,
            "-n0",
            "-q",
            "-pno:cacheprovider",
            f"--basetemp={folder}/tests",
            f"--hypothesis-seed={request['seed']}",
        ],
        plugins=[Judge(request["tests"], told, mapped)],
    )
    if mapped is not None:
        mapped.stop()
        mapped.save()


def in_fork(request: Mapping[str, Any]) -> dict[str, Any]:
    """Runs a request in a fork: its events, and whether the fork ran out of time."""
    readable, writable = os.pipe()
    with tempfile.TemporaryDirectory(prefix="ccenv-mutant-") as folder:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setsid()
                os.close(readable)
                nothing = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(nothing, stream)
                os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{folder}/hypothesis"
                with os.fdopen(writable, "w") as told:
                    run_tests(request, told, folder)
                status = 0
            finally:
                os._exit(status)
        os.close(writable)
        text, is_late = read_until(
            readable, time.monotonic() + PATIENCE * (SLACK * request["seconds"] + START)
        )
        os.close(readable)
        if is_late:
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        # What tests have started and left behind ends, too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    is_late |= os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return {"events": events, "is_late": is_late, "is_whole": status == 0}


def read_until(readable: int, deadline: float) -> tuple[str, bool]:
    """All that a pipe gives until its other end closes, and whether the deadline came first."""
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        if select.select([readable], [], [], left)[0]:
            part = os.read(readable, 1 << 16)
            if not part:
                return b"".join(parts).decode(), False
            parts.append(part)
    return b"".join(parts).decode(), True


def main() -> None:
    """Imports libraries that are its words, then answers requests until there are no more."""
    here = Path.cwd()
    # This file's own folder is no place of modules.
    sys.path[0] = str(here)
    os.environ["PYTHONPATH"] = str(here)
    for name in sys.argv[1:]:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed", file=sys.stderr)
    for line in sys.stdin:
        print(json.dumps(in_fork(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
