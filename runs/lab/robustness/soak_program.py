"""Long use as a program: lab faults soak --minutes 30 -> is anything growing."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ccenv.runs.commands.frame import program
from ccenv.runs.lab.robustness.soak import SUBJECTS, Sample, Work, fitted, soak
from ccenv.runs.store.recorded_rows import record_rows
from ccenv.runs.tables.sweep_table import markdown

KIND = "soak"
COLUMNS = {
    "used": "left",
    "minutes of all": "right .0f",
    "inputs": "right ,d",
    "a second of one core": "right ,.0f",
    "change of the rate": "right",
    "MiB at the end": "right .0f",
    "MiB more": "right +.1f",
}
MOST_GROWTH = 8.0
"""MiB over the time that is fitted; pools of the allocator come and go."""


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Recorded soaks as Markdown."""
    lines = []
    for row in rows:
        change = f"{row['rate_change']:+.1%} ± {row['rate_error']:.1%}"
        told = [row[name] for name in ("what", "minutes", "inputs", "rate")]
        lines.append([*told, change, row["mebibytes"], row["growth"]])
    return markdown(COLUMNS, lines)


def counted(work: Work, name: str, counts: Counter[str]) -> Work:
    """The same work, whose inputs are counted."""

    def again() -> int:
        done = work()
        counts[name] += done
        return done

    return again


@program("faults soak")
def main(arguments: Sequence[str] | None = None) -> int:
    """Uses environment, training and serving in turns, and fits memory and rate; see --help."""
    parser = argparse.ArgumentParser(
        prog="faults soak", description=main.__doc__, allow_abbrev=False
    )
    parser.add_argument("--what", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--minutes", type=float, default=30.0, help="of the clock, for all")
    parser.add_argument("--turn", type=float, default=10.0, help="seconds of one subject's turn")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write rows there, as JSON")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    works = {name: counted(SUBJECTS[name](), name, counts) for name in options.what}

    def say(sample: Sample) -> None:
        told = f"{sample.mebibytes:.1f} MiB, {sample.rate:,.0f} inputs a second of one core"
        print(f"{sample.minutes:6.1f} min {sample.what}: {told}", flush=True)

    samples = soak(works, 60 * options.minutes, options.turn, say)
    fits = [fitted(samples, name, counts[name]) for name in options.what]
    rows = [asdict(fit) | {"minutes": options.minutes} for fit in fits]
    print(table(rows))
    if options.record:
        record_rows(options.record, KIND, rows)
    return int(any(fit.growth > MOST_GROWTH for fit in fits))


if __name__ == "__main__":
    sys.exit(main())
