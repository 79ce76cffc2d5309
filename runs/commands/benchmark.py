"""Measures speed on this machine: ccenv benchmark [machine|kernels|gpu].

Everything is measured in one process, in turns, on masks drawn beforehand: a ratio compares
neighbouring timings, so that a busy machine slows all.

With glibc, batches of thousands of images pay for memory that is given back to the system and
fetched again every step; `MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000` in
the environment keeps it. The machine's card names what was set.
"""

import argparse
import sys
from collections.abc import Sequence

from ccenv.base.registry import check_names
from ccenv.runs.commands.frame import program
from ccenv.runs.speed import ABOUT, EXPERIMENTS

PROGRAM = "ccenv benchmark"


@program(PROGRAM)
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what the first word names; see --help."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    if words[:1] in (["--help"], ["-h"]):
        make_parser().parse_args(words[:1])
    if words and not words[0].startswith("-"):
        name = words.pop(0)
    else:
        # The first one is quick anyway: half a minute.
        name, words = next(iter(EXPERIMENTS)), [word for word in words if word != "--quick"]
    check_names([name], EXPERIMENTS, "benchmark")
    from ccenv.runs.experiment import run_experiment

    return run_experiment(EXPERIMENTS[name], PROGRAM, words)


def make_parser() -> argparse.ArgumentParser:
    """Explains the program: what can be measured."""
    told = "\n".join(f"  {name:8} {about}" for name, about in ABOUT.items())
    return argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [{'|'.join(EXPERIMENTS)}] [--quick] [--repeats N] [--threads N] ...",
        description=f"Speed as ratios measured in one process, in turns.\n\n{told}\n\n"
        f"{PROGRAM} NAME --help lists the options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
