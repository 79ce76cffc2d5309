"""Times this checkout beside another one, in turns: (its folder) -> time before over time now.

    git worktree add /tmp/before v0.1
    python -m ccenv.runs.lab checkouts /tmp/before

Each checkout runs in a process of its own, which waits while the other one is timed; both have the
same file of cases, `checkout_worker`. A ratio compares neighbouring timings.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ccenv.runs.lab.benchmarks import checkout_worker
from ccenv.runs.lab.benchmarks.cases import ratio
from ccenv.runs.lab.benchmarks.checkout_worker import LAYERS, PASSES
from ccenv.runs.lab.experiment import Experiment, Options, Row

HERE = Path(checkout_worker.__file__).resolve().parents[3]
NOTES = """\
Now over before: time before over time now in the same round, median [quartiles]; before and now,
where a dense layer of torch is timed too: its time over the kernels'. A process for each checkout,
in turns, one thread, processor seconds; other masks in every pass."""
COLUMNS = {
    "case": "<{case}",
    "masks": "<?{masks}",
    "batch": ">?{batch:,}",
    "density": ">?{density:.3f}",
    "before": "<?{before:.2f} [{before_low:.2f}, {before_high:.2f}]",
    "now": "<?{now:.2f} [{now_low:.2f}, {now_high:.2f}]",
    "now over before": "<{gain:.2f} [{gain_low:.2f}, {gain_high:.2f}]",
}
"""An earlier program timed kernels alone: its rows say masks, batch and density."""


class Worker:
    """A process that times cases by one checkout's ccenv."""

    def __init__(self, folder: Path) -> None:
        """Starts it."""
        settings = os.environ | {"PYTHONPATH": str(folder)}
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, checkout_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=settings,
            cwd=folder,
        )

    def __enter__(self) -> "Worker":
        """Itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.communicate()

    def ask(self, **request: Any) -> list[Any]:
        """An answer of the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise ValueError(
                f"expected a checkout of ccenv in {self._folder} that runs {request}, got a "
                "process that ended; its error is above"
            )
        answers: list[Any] = json.loads(answer)
        return answers


def rounds_of(workers: Mapping[str, Worker], case: str, rounds: int) -> dict[str, list[Any]]:
    """Seconds of a case's passes by each worker, round by round, in turns."""
    calls = {name: worker.ask(case=case) for name, worker in workers.items()}
    # As many calls for both: the first is asked.
    count = next(iter(calls.values()))
    seconds: dict[str, list[Any]] = {name: [] for name in workers}
    order = list(workers)
    for _ in range(rounds):
        for name in order:
            seconds[name].append(workers[name].ask(calls=count))
        order.reverse()
    return seconds


def row_of(case: str, times: Mapping[str, Sequence[Sequence[float]]]) -> Row:
    """A case's ratios; `NOTES` tells what they say."""
    first_passes = {name: [passes[0] for passes in rounds] for name, rounds in times.items()}
    row: dict[str, Any] = {"case": case}
    pairs = {"gain": (first_passes["before"], first_passes["now"])}
    if len(times["now"][0]) > 1:
        for name, rounds in times.items():
            pairs[name] = [passes[1] for passes in rounds], first_passes[name]
    for name, (above, below) in pairs.items():
        row |= ratio(name, above, below)
    return row


def add_options(parser: argparse.ArgumentParser) -> None:
    """The other checkout, and what is timed."""
    parser.add_argument("folder", type=Path, help="the other checkout")
    names = [*LAYERS, *PASSES]
    parser.add_argument("--cases", nargs="+", metavar="TEXT", help=f"parts of {'; '.join(names)}")
    parser.add_argument("--rounds", type=int, default=15)


def measured(options: Options) -> Iterator[Row]:
    """Every case that was asked for."""
    names = [
        name
        for name in (*LAYERS, *PASSES)
        if options.cases is None or any(text in name for text in options.cases)
    ]
    if not names or options.rounds < 2:
        raise ValueError(
            f"expected parts of {'; '.join([*LAYERS, *PASSES])} and two rounds at least, got "
            f"{options.cases} and {options.rounds}"
        )
    if not (options.folder / "ccenv" / "__init__.py").is_file():
        raise ValueError(f"expected a checkout of ccenv, got {options.folder}")
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(folder.resolve()))
            for name, folder in (("before", options.folder), ("now", HERE))
        }
        for name in names:
            yield row_of(name, rounds_of(workers, name, options.rounds))


CHECKOUTS = Experiment(
    name="checkouts",
    about="this checkout beside another one, in turns: kernels, environments, texts, training",
    run=measured,
    columns=COLUMNS,
    kind="kernels-beside",
    add_options=add_options,
    notes=NOTES,
    names_machine=True,
)
